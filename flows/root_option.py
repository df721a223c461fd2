"""The root that the `--root` option of a command or a flow parameter selects, or the default root."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flows.processes.console import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.schemas.records import FileRecord
    from tasks.storage.backend import Root


def resolve_root(given: str | None) -> "Root":
    """Return the given root, or the default root.

    Raises:
        InputError: If the root can't be used.
    """
    from tasks.storage.backend import open_root  # noqa: PLC0415  # so that `--help` answers immediately

    return open_root(given or _default_root())


def root_to_read(given: str | None) -> "Root":
    """Return the given or the default root for a command that only reads; write nothing.

    Raises:
        InputError: If the root can't be used.
        RootError: If the place holds files of others.
        StorageError: If the root can't be read.
    """
    from tasks.storage.roots import known_root  # noqa: PLC0415

    return known_root(resolve_root(given))


def require_usable_root(given: str | None) -> None:
    """Check all of the given or the default root that can be checked without writing and without a connection.

    Of a store, that is its address.

    Raises:
        InputError: If the root can't be used.
        RootError: If the folder holds files of others.
        StorageError: If the folder can't be written.
    """
    from tasks.storage.backend import is_address, require_store_address  # noqa: PLC0415
    from tasks.storage.roots import check_root  # noqa: PLC0415

    place = given or _default_root()
    if is_address(place):
        require_store_address(place)
    else:
        check_root(resolve_root(place))


def _default_root() -> str:
    return os.environ.get("MNIST_ROOT") or "data"


@contextmanager
def at_root(given: str | None) -> "Iterator[Root]":
    """Yield an existing root for a command that adds files to it, under a shared lock.

    While the lock is held, `mnist prune` waits and no run removes stale files.

    Raises:
        RootError: If no run was made under the root, or if it holds files of others.
        StorageError: If the root can't be written or locked.
    """
    from tasks.storage.roots import root_to_change  # noqa: PLC0415  # so that `--help` answers immediately
    from tasks.storage.storage import storage_of  # noqa: PLC0415

    root = root_to_change(resolve_root(given))
    with storage_of(root).shared_lock(say):
        yield root


@contextmanager
def root_with_pages(given: str | None) -> "Iterator[tuple[Root, str]]":
    """Yield an existing root for a command that reads it and adds a page, and the reason why it can't add any.

    The reason is empty if the root can be written, and then the root is locked as by `at_root`.

    Raises:
        RootError: If no run was made under the root, or if it holds files of others.
        StorageError: If the root can't be read, or not locked although it can be written.
    """
    from tasks.errors import StorageError  # noqa: PLC0415
    from tasks.storage.roots import existing_root  # noqa: PLC0415

    with ExitStack() as held:
        try:
            root, reason = held.enter_context(at_root(given)), ""
        except StorageError as error:
            if not _is_forbidden(error.__cause__):
                raise
            root, reason = existing_root(resolve_root(given)), str(error)
        yield root, reason


def write_optional_page(write: "Callable[[], FileRecord]", no_page: str) -> tuple[str, str]:
    """Write the page of a command whose results are complete without it, unless there is a reason for `no_page`.

    Returns:
        The path of the page under the root, and the reason why there is none; one of the two is empty.
    """
    from tasks.errors import StorageError  # noqa: PLC0415

    if no_page:
        return "", no_page
    try:
        return write().path, ""
    except StorageError as error:
        return "", str(error)


def _is_forbidden(error: BaseException | None) -> bool:
    """Return whether an error means that this account or this file system permits no writing."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS)
