"""Options that several commands share."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def default_root() -> str:
    """Where runs keep their files if nothing else is said."""
    return os.environ.get("MNIST_ROOT") or "data"


@contextmanager
def at_root(given: str | None) -> Iterator[Path]:
    """The root to write under, along with others: `mnist prune`, and what sweeps up after dead runs, wait meanwhile.

    Raises:
        StorageError: it can't be written or locked.
    """
    from tasks.files import checked_root  # noqa: PLC0415  # so that `--help` answers at once
    from tasks.locks import shared  # noqa: PLC0415

    root = checked_root(Path(given or default_root()))
    with shared(root, say):
        yield root


def say(line: str, _level: int) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)


ROOT: Callable[[Command], Command] = click.option(
    "--root", metavar="DIR", help="Folder of all files.  [default: MNIST_ROOT, else data]"
)
JSON: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, logs on stderr."
)
