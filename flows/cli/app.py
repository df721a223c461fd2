"""Entry point of the `mnist` command: streams, signals, and the exit code.

It prepares the standard streams and the signal handlers before it imports the commands, because the imports take a
tenth of a second, during which Ctrl-C may arrive. Exit codes: those of the command (`flows/cli/outcome.py`), 130 after
Ctrl-C, 143 after SIGTERM, 141 if the reader of standard output has closed it.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from flows.processes import stop, streams
from tasks.errors import OutputError
from tasks.safety.stopping import STOPPING


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit this process with its exit code."""
    streams.replace_closed_streams()  # first: the pipe of `listen` would take the file descriptor of a closed stream
    stop.listen()
    try:
        with stop.exit_on_signal():
            from flows.cli.outcome import run_outcome  # noqa: PLC0415

        code, lines = run_outcome(arguments)
        streams.deliver()
    except OutputError as error:
        code, lines = error.exit_code, str(error)
    except SystemExit as error:
        code, lines = (error.code if isinstance(error.code, int) else 1), ""
    except KeyboardInterrupt:
        stop.end()
    except BaseException:
        if STOPPING.is_set():  # the interruption caused this error
            stop.end()
        raise
    if STOPPING.is_set():
        stop.end()
    stop.set_exit_code(code)
    if lines:
        from logging import ERROR  # noqa: PLC0415

        from flows.processes.log_file import note_in_log_file  # noqa: PLC0415
        from tasks.safety.redaction import redact  # noqa: PLC0415

        for fault in lines.splitlines():
            sys.stderr.write(f"mnist: {redact(fault)}\n")
            note_in_log_file(redact(fault), ERROR)
    sys.exit(code)


if __name__ == "__main__":
    main()
