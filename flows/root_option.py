"""The root that a command is given, or the default."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.processes.console import say

if TYPE_CHECKING:
    from tasks.storage.backend import Root


def resolve_root(given: str | None) -> "Root":
    """The root that was given, or the default.

    Raises:
        InputError: it can't be used.
    """
    from tasks.storage.backend import open_root  # noqa: PLC0415  # so that `--help` answers at once

    return open_root(given or _default_root())


def root_to_read(given: str | None) -> "Root":
    """The root that was given, or the default, for a command that only reads: nothing is written.

    Raises:
        InputError: it can't be used, or what is there is not ours.
        StorageError: it can't be read.
    """
    from tasks.storage.roots import known_root  # noqa: PLC0415

    return known_root(resolve_root(given))


def refuse_foreign_root(given: str | None) -> None:
    """Refuse a folder that can't become a root, before a server is started; a root that bears its mark costs a look.

    Raises:
        InputError: The `~` of a path is nobody's.
        RootError: The folder holds files of others.
        StorageError: It can't be written.
    """
    from tasks.storage.folders import MARK  # noqa: PLC0415

    place = given or _default_root()
    if "://" in place:
        return
    folder = resolve_root(place)
    if not folder.exists() or (folder / MARK).is_file():
        return
    from tasks.storage.roots import validate_root  # noqa: PLC0415

    validate_root(folder)


def _default_root() -> str:
    """Where runs keep their files if nothing else is said."""
    return os.environ.get("MNIST_ROOT") or "data"


@contextmanager
def at_root(given: str | None) -> "Iterator[Root]":
    """The root of earlier runs, to add to along with others: `mnist prune`, and what sweeps up after dead runs, wait meanwhile.

    Raises:
        RootError: nothing was made there, or what is there is not ours.
        StorageError: it can't be written or locked.
    """
    from tasks.storage.locks import shared_lock  # noqa: PLC0415  # so that `--help` answers at once
    from tasks.storage.roots import root_to_change  # noqa: PLC0415

    root = root_to_change(resolve_root(given))
    with shared_lock(root, say):
        yield root
