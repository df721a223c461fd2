"""Options that several commands share."""

import os
from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def default_root() -> str:
    """Where runs keep their files if nothing else is said."""
    return os.environ.get("MNIST_ROOT") or "data"


ROOT: Callable[[Command], Command] = click.option(
    "--root", metavar="DIR", help="Folder of all files.  [default: MNIST_ROOT, else data]"
)
JSON: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, logs on stderr."
)
