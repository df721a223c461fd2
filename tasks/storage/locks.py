"""Locks: who may do what under a root at the same time, across processes; in a store, across machines.

Whoever works under a root shares it; whoever removes files from it has it alone. Whoever makes a record has its key alone.
The locks are the operating system's (flock): it takes them away from a process that ends, however it ends, so that none is
ever left behind, and none of a live process is ever broken. In a store, they are leases.
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
_AT_WORK = "at-work"  # in a store: the leases of those who share the root
_POLL_SECONDS = 0.1
_MOST_HOLDERS = 200  # characters of what a lock's file holds


@contextmanager
def shared_lock(root: Root, say: Say) -> Iterator[None]:
    """Work under `root`, along with others; in a store, with its shadow, too.

    Raises:
        StorageError: the root can't be locked.
    """
    with _locked(local_cache_dir(root) / LOCKS_FOLDER / _ROOT, LockFlags.SHARED, "", say):
        if isinstance(root, Path):
            yield
            return
        from tasks.storage.s3_leases import shared_lease  # noqa: PLC0415  # where there is a store

        with shared_lease(root / LOCKS_FOLDER / _AT_WORK, root / LOCKS_FOLDER / _ROOT, _this_process(), say):
            yield


@contextmanager
def exclusive_lock(root: Root, who: str, say: Say) -> Iterator[None]:
    """Have `root` alone, once all others have left.

    Raises:
        StorageError: the root can't be locked.
    """
    with _locked(
        local_cache_dir(root) / LOCKS_FOLDER / _ROOT, LockFlags.EXCLUSIVE, who, say, others="the runs under way"
    ):
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
    """Have one key under `root` alone.

    Raises:
        StorageError: the root can't be locked.
    """
    if not isinstance(root, Path):
        from tasks.storage.s3_leases import exclusive_lease  # noqa: PLC0415

        with exclusive_lease(root / LOCKS_FOLDER / f"{key}.lock", f"{who} at {_this_process()}", say):
            yield
        return
    with _locked(root / LOCKS_FOLDER / signed_name(root, key), LockFlags.EXCLUSIVE, who, say):
        yield


def signed_name(root: Root, key: str) -> str:
    """The name of a lock's file, signed under a root that is a folder: what bears it is ours, to be written and removed."""
    mark = find_mark(root) if isinstance(root, Path) else None
    return mark.signed(key, ".lock") if mark else f"{key}.lock"


@contextmanager
def try_exclusive_lock(root: Path) -> Iterator[bool]:
    """Have `root` alone if nobody is at work there; else False.

    Raises:
        StorageError: the root can't be locked.
    """
    with _open_lock(root / LOCKS_FOLDER / _ROOT) as stream:
        yield _try_lock(stream, LockFlags.EXCLUSIVE)


def nobody_at_work(root: Path) -> bool:
    """Whether nobody is at work under `root` at this moment. Nothing is written; in doubt, somebody is."""
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
    """Hold the lock on a file; wait for it, and say for whom.

    Raises:
        Interrupted: the process was told to stop meanwhile.
        StorageError: the file system has no locks, or the file can't be made.
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
    """A lock's file; closing it gives the lock back."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8", errors="replace")
    with stream:
        yield stream


def _try_lock(stream: IO[str], kind: LockFlags) -> bool:
    """Take a lock if it is free.

    Raises:
        StorageError: the file system has no locks.
    """
    try:
        portalocker.lock(stream, kind | LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise StorageError(f"can't lock {stream.name}: {error}; give a --root on a file system with locks") from error
    return True


def _this_process() -> str:
    """This process, for those who wait on other machines."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _lock_name(stream: IO[str], path: Path, who: str) -> None:
    """Write into a lock's file who has it, for those who wait.

    The root's lock has a name that others may have given before: what it holds, or leads to, stays.
    """
    stream.seek(0)
    if path.name != _ROOT or (not path.is_symlink() and not stream.read(1)):
        stream.seek(0)
        stream.truncate()
        stream.write(who)
        stream.flush()


def _lock_holder(stream: IO[str]) -> str:
    """Who has a lock, as far as it is known."""
    stream.seek(0)
    return stream.read(_MOST_HOLDERS) or "another run"
