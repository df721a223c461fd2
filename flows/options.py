"""Options that several commands share."""

import os
from collections.abc import Callable
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from tasks.dataset import Name
from tasks.errors import InputError

Command = Callable[..., Any]


def default_root() -> str:
    """Where runs keep their files if nothing else is said."""
    return os.environ.get("MNIST_ROOT") or "data"


def flag(name: str, value: object) -> bool:
    """A parameter that is true or false.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be true or false, not {value!r}")


def named(name: str, value: object) -> str:
    """A parameter that becomes part of a file's name.

    Raises:
        InputError: it is none.
    """
    try:
        return TypeAdapter(Name).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{name} must be small letters, digits and _, from a letter on, not {value!r}") from error


ROOT: Callable[[Command], Command] = click.option(
    "--root", metavar="DIR", help="Folder of all files.  [default: MNIST_ROOT, else data]"
)
JSON: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, logs on stderr."
)
