"""Lock a root or a cache key across processes, and in a store across machines.

Runs hold a shared lock on the root; a process that removes files holds it exclusively. A step holds an exclusive lock
on the key of the record that it makes. The locks are those of the operating system (flock). It releases them when a
process ends, however it ends, so that no lock is left behind and no lock of a live process is broken. In a store,
leases serve as locks.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import portalocker
from portalocker import LockFlags

from tasks.errors import StorageError
from tasks.safety.stopping import pause
from tasks.storage.backend import Root, local_cache_dir
from tasks.storage.content_files import storage_errors
from tasks.storage.folders import Folder
from tasks.storage.root_marker import find_mark
from tasks.storage.waiting import Say, WaitNotice

LOCKS_FOLDER, _ROOT = Folder.LOCKS, "root.lock"
_AT_WORK = "at-work"  # in a store: the folder of the leases that share the root
_POLL_SECONDS = 0.1
_MOST_HOLDERS = 200  # characters read from a lock file


@contextmanager
def shared_lock(root: Root, say: Say) -> Iterator[None]:
    """Hold a shared lock on `root`; for a store, on its cache folder and on the store.

    Args:
        root: The root.
        say: Called with a line and a logging level if the lock takes a while.

    Raises:
        StorageError: If the root cannot be locked.
    """
    with _locked(local_cache_dir(root) / LOCKS_FOLDER / _ROOT, LockFlags.SHARED, "", say):
        if isinstance(root, Path):
            yield
            return
        from tasks.storage.s3_leases import shared_lease  # noqa: PLC0415  # needed only for a store

        with shared_lease(root / LOCKS_FOLDER / _AT_WORK, root / LOCKS_FOLDER / _ROOT, _this_process(), say):
            yield


@contextmanager
def exclusive_lock(root: Root, who: str, say: Say) -> Iterator[None]:
    """Hold an exclusive lock on `root`; wait until all other processes have released theirs.

    Args:
        root: The root.
        who: The name of the holder, for processes that wait.
        say: Called with a line and a logging level if the lock takes a while.

    Raises:
        StorageError: If the root cannot be locked.
    """
    with _locked(local_cache_dir(root) / LOCKS_FOLDER / _ROOT, LockFlags.EXCLUSIVE, who, say, others="the active runs"):
        if isinstance(root, Path):
            yield
            return
        from tasks.storage.s3_leases import exclusive_when_idle  # noqa: PLC0415

        with exclusive_when_idle(
            root / LOCKS_FOLDER / _AT_WORK, root / LOCKS_FOLDER / _ROOT, f"{who} at {_this_process()}", say
        ):
            yield


@contextmanager
def key_lock(root: Root, key: str, who: str, say: Say) -> Iterator[None]:
    """Hold an exclusive lock on a key under `root`.

    Args:
        root: The root.
        key: The name of the key.
        who: The name of the holder, for processes that wait.
        say: Called with a line and a logging level if the lock takes a while.

    Raises:
        StorageError: If the root cannot be locked.
    """
    if not isinstance(root, Path):
        from tasks.storage.s3_leases import exclusive_lease  # noqa: PLC0415

        with exclusive_lease(root / LOCKS_FOLDER / f"{key}.lock", f"{who} at {_this_process()}", say):
            yield
        return
    with _locked(root / LOCKS_FOLDER / signed_name(root, key), LockFlags.EXCLUSIVE, who, say):
        yield


def signed_name(root: Root, key: str) -> str:
    """Return the name of a key's lock file.

    Under a local root with a mark, the name is signed. The signature proves that the file belongs to the root and may
    be overwritten and removed.
    """
    mark = find_mark(root) if isinstance(root, Path) else None
    return mark.signed(key, ".lock") if mark else f"{key}.lock"


@contextmanager
def try_exclusive_lock(root: Path) -> Iterator[bool]:
    """Try to lock `root` exclusively without waiting; yield whether the lock is held.

    Raises:
        StorageError: If the root cannot be locked.
    """
    with _open_lock(root / LOCKS_FOLDER / _ROOT) as stream:
        yield _try_lock(stream, LockFlags.EXCLUSIVE)


def nobody_at_work(root: Path) -> bool:
    """Return whether no process uses `root` at this moment; nothing is written, and errors count as use."""
    path = root / LOCKS_FOLDER / _ROOT
    if not path.is_file():
        return not path.exists()
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return _try_lock(stream, LockFlags.EXCLUSIVE)
    except OSError:
        return False


@contextmanager
def _locked(path: Path, kind: LockFlags, who: str, say: Say, others: str = "") -> Iterator[None]:
    """Hold the lock on a file; wait for it, and report the holder.

    Args:
        path: The lock file.
        kind: Shared or exclusive.
        who: The name of the holder, written to the file of an exclusive lock.
        say: Called with a line and a logging level if the lock takes a while.
        others: Who holds the lock meanwhile; if empty, the name in the file.

    Raises:
        Interrupted: If the process was told to stop while it waited.
        StorageError: If the file system has no locks, or if the file cannot be created.
    """
    with _open_lock(path) as stream:
        told = WaitNotice(say)
        while not _try_lock(stream, kind):
            told.of(lambda: f"waiting for {others or _lock_holder(stream)}: {path} is locked")
            pause(_POLL_SECONDS)
        if kind == LockFlags.EXCLUSIVE:
            with storage_errors(path):
                _lock_name(stream, path, who)
        yield


@contextmanager
def _open_lock(path: Path) -> Iterator[IO[str]]:
    """Open a lock file; closing it releases the lock."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8", errors="replace")
    with stream:
        yield stream


def _try_lock(stream: IO[str], kind: LockFlags) -> bool:
    """Take a lock if it is free, and return whether it was taken.

    Raises:
        StorageError: If the file system has no locks.
    """
    try:
        portalocker.lock(stream, kind | LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise StorageError(f"can't lock {stream.name}: {error}; give a --root on a file system with locks") from error
    return True


def _this_process() -> str:
    """Return the host name and process ID, for processes that wait on other machines."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _lock_name(stream: IO[str], path: Path, who: str) -> None:
    """Write the name of the holder into a lock file, for processes that wait.

    The name of the root's lock is not signed, so a non-empty file or a link of that name may be the user's and is not
    overwritten.
    """
    stream.seek(0)
    if path.name != _ROOT or (not path.is_symlink() and not stream.read(1)):
        stream.seek(0)
        stream.truncate()
        stream.write(who)
        stream.flush()


def _lock_holder(stream: IO[str]) -> str:
    """Return the name of the holder in a lock file, or a general term if the file is empty."""
    stream.seek(0)
    return stream.read(_MOST_HOLDERS) or "another run"
