"""The root of a command or a flow: the first that is given or found.

These places are tried in order: the `--root` option or the flow's parameter, MNIST_ROOT, the current folder and the
folders above it, the user's configuration file, and `data` in the current folder. A root above the current folder, or
the current folder itself, counts only if no other account can have written it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flows.processes.console import say
from tasks.errors import InputError, NothingFoundError, StorageError
from tasks.filesystem.trusted_files import ROOT_MARK, trust_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tasks.schemas.records import FileRecord
    from tasks.storage.backend import Root


_DEFAULT = "data"


class RootChoice(NamedTuple):
    """The path or the address of a root, and how it was chosen, such as `given by --root`."""

    place: str
    source: str


def choose_root(given: str | None) -> RootChoice:
    """Choose the root: the given one if there is one, otherwise the first that the environment or a folder names.

    Raises:
        InputError: If an empty root is given.
        SettingsError: If the user's configuration file is needed and can't be used.
    """
    if given is not None:
        if not given.strip():
            raise InputError("the --root is empty: give a folder or s3://BUCKET/PREFIX, or omit the option")
        return RootChoice(given, "given by --root")
    if named := os.environ.get("MNIST_ROOT", "").strip():
        return RootChoice(named, "given by MNIST_ROOT")
    if found := _root_around(Path.cwd()):
        return RootChoice(str(found), "found from the current folder")
    from tasks.config.user_settings import configured_root, settings_file  # noqa: PLC0415  # rarely needed

    if configured := configured_root():
        return RootChoice(configured, f"given by {settings_file()}")
    return RootChoice(_DEFAULT, "by default")


def _root_around(here: Path) -> Path | None:
    """Return the root in the folder `data` of a folder, the folder itself if it is a root, or the next root above it."""
    if _is_marked(here / _DEFAULT) or _is_unmarked_root(here / _DEFAULT):
        return here / _DEFAULT
    around = (one for folder in (here, *here.parents) for one in (folder / _DEFAULT, folder))
    return next((one for one in around if _is_marked(one) and not trust_fault(one)), None)


def _is_marked(folder: Path) -> bool:
    """Return whether a folder holds the mark of a root."""
    try:
        return stat.S_ISREG((folder / ROOT_MARK).lstat().st_mode)
    except OSError:
        return False


def _is_unmarked_root(folder: Path) -> bool:
    """Return whether a folder is a root without a mark, as of an earlier version."""
    if folder.is_dir():
        from tasks.storage.roots import is_root  # noqa: PLC0415  # a root usually has a mark

        with suppress(StorageError, OSError):  # the command itself reports that the folder can't be read
            return is_root(folder)
    return False


def resolve_root(given: str | None) -> "Root":
    """Return the given root, or the one that is found.

    Raises:
        InputError: If the root can't be used.
    """
    from tasks.storage.backend import open_root  # noqa: PLC0415  # so that `--help` answers immediately

    return open_root(choose_root(given).place)


def describe_root(given: str | None) -> str:
    """Return the path or address of the root, and how it was chosen."""
    return f"{resolve_root(given)} (root {choose_root(given).source})"


@contextmanager
def saying_where(given: str | None) -> Iterator[None]:
    """Add to the error of a search under the root how the root was chosen."""
    try:
        yield
    except NothingFoundError as error:
        raise NothingFoundError(f"{error} (root {choose_root(given).source})") from error


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
        InputError: If the root can't be used, or the file that names it.
        RootError: If the folder holds files of others.
        StorageError: If the folder can't be written.
    """
    from tasks.storage.backend import is_address, require_store_address  # noqa: PLC0415
    from tasks.storage.roots import check_root  # noqa: PLC0415

    place = choose_root(given).place
    if is_address(place):
        require_store_address(place)
    else:
        check_root(resolve_root(place))


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

    with saying_where(given):
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
    from tasks.storage.roots import existing_root  # noqa: PLC0415

    with ExitStack() as held:
        try:
            root, reason = held.enter_context(at_root(given)), ""
        except StorageError as error:
            if not _is_forbidden(error.__cause__):
                raise
            held.enter_context(saying_where(given))
            root, reason = existing_root(resolve_root(given)), str(error)
        yield root, reason


def write_optional_page(write: "Callable[[], FileRecord]", no_page: str) -> tuple[str, str]:
    """Write the page of a command whose results are complete without it, unless there is a reason for `no_page`.

    Returns:
        The path of the page under the root, and the reason why there is none; one of the two is empty.
    """
    if no_page:
        return "", no_page
    try:
        return write().path, ""
    except StorageError as error:
        return "", str(error)


def _is_forbidden(error: BaseException | None) -> bool:
    """Return whether an error means that this account or this file system permits no writing."""
    return isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS)
