"""Print lines and JSON documents on standard output and standard error."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from flows.processes.log_file import note_in_log_file
from tasks.errors import MnistError
from tasks.safety.plain_text import json_line, printable
from tasks.schema_version import SCHEMA_VERSION

Command = Callable[..., Any]


class Verbosity:
    """What a command writes to standard error besides errors: nothing if `quiet`, log lines instead of bars if `verbose`.

    The result on standard output is always the same.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Be neither quiet nor verbose."""
        self.quiet = self.verbose = False


VERBOSITY = Verbosity()  # of this process
CONSOLE_LEVEL = (
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"  # sets what Prefect logs to the screen, in child processes, too
)


def say(line: str, _level: int) -> None:
    """Print a line on standard error."""
    echo(line, err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print a text on standard output or standard error, with control characters as escapes.

    click itself would drop text that looks like a terminal's control codes. A quiet command prints nothing on standard
    error here: its errors are printed at its end.
    """
    if err:
        note_in_log_file(text)
        if VERBOSITY.quiet:
            return
    click.echo(printable(text, keep="\n"), err=err)


def warn(text: str) -> None:
    """Print a warning on standard error, which a quiet command prints as well."""
    note_in_log_file(text, logging.WARNING)
    click.echo(printable(text, keep="\n"), err=True)


def echo_json(values: Mapping[str, object]) -> None:
    """Print values as one JSON document on standard output, with the version of its schema."""
    click.echo(json_document(values))


def json_document(values: Mapping[str, object]) -> str:
    """Return values as one line of JSON, with the version of its schema."""
    return json_line({"schema_version": SCHEMA_VERSION, **values})


@contextmanager
def exit_with_one_line() -> Iterator[None]:
    """End the process with one line for each fault and an exit code if the block raises an error of this project.

    For processes other than the `mnist` command.
    """
    try:
        yield
    except MnistError as error:
        for fault in error.fault_lines:
            echo(f"mnist: {fault}", err=True)
        sys.exit(error.exit_code)
