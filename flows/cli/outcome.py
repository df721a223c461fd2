"""The outcome of a command: its exit code, and one line for each fault.

Every command exits with 0 on success, 1 on a failed gate or check, and 2 on wrong usage or invalid input. A failing
command prints one line that says what to do.
"""

# ruff: noqa: PLC0415  # most commands end without an error, and need neither module

import os
import re
from collections.abc import Sequence

import click

from flows.cli.run import cli
from tasks.errors import InputError, MnistError, describe_system_error

_WORD_NUMBER = re.compile("[0-9]{1,4}")
_COMPLETION = "_MNIST_COMPLETE"  # the variable that Click derives from the name of the command


def run_outcome(arguments: Sequence[str] | None) -> tuple[int, str]:
    """Run a command and return its exit code and, if that is not 0, the reasons: one line for each fault."""
    if fault := _fault_of_completion():
        return InputError.exit_code, fault
    try:
        cli.main(args=arguments, prog_name="mnist", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code, ""
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        line = summary_line(error)
        if line is None:
            raise  # a defect of the program: its traceback is needed
        if isinstance(error, MnistError):
            return error.exit_code, "\n".join(" ".join(fault.split()) for fault in error.fault_lines)
        return MnistError.exit_code, " ".join(line.split())
    return 0, ""


def _fault_of_completion() -> str:
    """Return why a request of a shell for completions can't be answered, or an empty string if there is no fault.

    Click takes the words from variables that the shell's completion function sets, and does not check them.
    """
    asked, word = os.environ.get(_COMPLETION, ""), os.environ.get("COMP_CWORD")
    if not asked.endswith("_complete"):
        return ""
    # For fish, the second variable is the word itself; for other shells, it is the number of the word.
    if "COMP_WORDS" in os.environ and word is not None and (_WORD_NUMBER.fullmatch(word) or asked.startswith("fish")):
        return ""
    return (
        f"{_COMPLETION} is for the completion function of a shell, which also sets COMP_WORDS and COMP_CWORD: unset it"
    )


def summary_line(error: Exception) -> str | None:
    """Return the one-line message for an error that a user can cause, or None for any other error."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, MnistError):
        return str(error)
    if isinstance(error, TimeoutError):  # of a task run
        return f"a step timed out: {str(error).rstrip('.')}; run again, or use fewer epochs"
    if isinstance(error, OSError):  # of a file that is not under the root, such as in a full temporary folder
        return describe_system_error(error)
    # Prefect needs the home directory.
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home directory"):
        return "this account has no home directory: set HOME to a folder that it can write to"
    from flows.server.local_server import describe_connection_error
    from tasks.storage.backend import unreachable

    return describe_connection_error(error) or unreachable(error)
