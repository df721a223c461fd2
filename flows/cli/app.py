"""The `mnist` command, from its start to its end, whatever ends it.

Standard streams and signals come first: to import the commands takes a tenth of a second, in which Ctrl-C may be pressed, too.
Exit codes: what the command says (`flows/cli/run.py`), 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads on.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from flows.processes import stop, streams
from tasks.errors import OutputError
from tasks.safety.stopping import STOPPING


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command, and end this process with its exit code."""
    streams.replace_closed_streams()  # first: what `listen` opens would take the numbers of streams that are closed
    stop.listen()
    try:
        with stop.nothing_to_undo():
            from flows.cli.run import run_outcome  # noqa: PLC0415

        code, line = run_outcome(arguments)
        streams.deliver()
    except OutputError as error:
        code, line = error.exit_code, str(error)
    except SystemExit as error:
        code, line = (error.code if isinstance(error.code, int) else 1), ""
    except KeyboardInterrupt:
        stop.end()
    except BaseException:
        if STOPPING.is_set():  # whatever an interruption has led to
            stop.end()
        raise
    if STOPPING.is_set():
        stop.end()
    stop.restore_signals(code)
    if line:
        from tasks.safety.redaction import redact  # noqa: PLC0415

        sys.stderr.write(f"mnist: {redact(' '.join(line.split()))}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
