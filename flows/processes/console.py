"""Print lines and JSON documents on standard output and standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from tasks.errors import MnistError
from tasks.safety.plain_text import json_line, printable

Command = Callable[..., Any]


def say(line: str, _level: int) -> None:
    """Print a line on standard error."""
    echo(line, err=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print a text on standard output or standard error, with control characters as escapes.

    click itself would drop text that looks like a terminal's control codes.
    """
    click.echo(printable(text, keep="\n"), err=err)


def echo_json(value: object) -> None:
    """Print a value as one JSON document on standard output."""
    click.echo(json_line(value))


@contextmanager
def exit_with_one_line() -> Iterator[None]:
    """End the process with a one-line message and an exit code if the block raises an error of this project.

    For processes other than the `mnist` command.
    """
    try:
        yield
    except MnistError as error:
        echo(f"mnist: {error}", err=True)
        sys.exit(error.exit_code)
