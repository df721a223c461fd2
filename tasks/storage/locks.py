"""Lock a root or a cache key across processes.

Runs hold a shared lock on the root; a process that removes files holds it exclusively. A step holds an exclusive lock
on the key of the record that it makes. The locks are those of the operating system (flock). It releases them when a
process ends, however it ends, so no lock is left behind and no lock of a live process is broken. In a store,
leases (`tasks.storage.s3_leases`) lock the root and the keys also across machines.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.base import LogLine
from tasks.errors import StorageError
from tasks.safety.stopping import pause
from tasks.storage.backend import storage_errors
from tasks.storage.folders import Folder
from tasks.storage.real_folders import real_path

_ROOT = "root.lock"
ROOT_LOCK = f"{Folder.LOCKS}/{_ROOT}"  # the path under the root
_PATIENCE_SECONDS = 1.0  # wait before the notice
_POLL_SECONDS = 0.1
_MAX_HOLDERS = 200  # characters read from a lock file


class WaitNotice:
    """Notice that reports once what the process waits for, if the wait takes a while."""

    def __init__(self, say: LogLine) -> None:
        self.say, self.began, self.reported = say, time.monotonic(), False

    def of(self, line: Callable[[], str]) -> None:
        """Report the wait if it has taken long enough; `line` is called only then."""
        if not self.reported and time.monotonic() - self.began > _PATIENCE_SECONDS:
            self.say(line(), logging.WARNING)
            self.reported = True


@contextmanager
def try_exclusive_lock(root: Path) -> Iterator[bool]:
    """Try to lock `root` exclusively without waiting; yield whether the lock is held.

    Raises:
        StorageError: If the root cannot be locked.
    """
    with _open_lock(root, ROOT_LOCK) as stream:
        yield try_lock(stream, exclusive=True)


def is_idle(root: Path) -> bool:
    """Return whether no process uses `root` at this moment; nothing is written, and errors count as use."""
    path = root / ROOT_LOCK
    if not path.is_file():
        return not path.exists()
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return try_lock(stream, exclusive=True)
    except OSError:
        return False


@contextmanager
def file_lock(root: Path, name: str, who: str, say: LogLine, *, exclusive: bool, others: str = "") -> Iterator[None]:
    """Hold the lock on a file; wait for it, and report the holder.

    Args:
        root: The root.
        name: The path of the lock file under the root.
        who: The name of the holder, written to the file of an exclusive lock.
        say: Called with a line and a logging level if the lock takes a while.
        exclusive: Whether no other process may hold the lock.
        others: Description of the holders for the notice; if empty, the name in the lock file.

    Raises:
        Interrupted: If the process was asked to stop while it waited.
        StorageError: If the file system has no locks, if the file cannot be created, or if a link is on the way to it.
    """
    path = root / name
    with _open_lock(root, name) as stream:
        told = WaitNotice(say)
        while not try_lock(stream, exclusive=exclusive):
            told.of(lambda: f"waiting for {others or _lock_holder(stream)}: {path} is locked")
            pause(_POLL_SECONDS)
        if exclusive:
            with storage_errors(path):
                _write_holder(stream, path, who)
        yield


@contextmanager
def _open_lock(root: Path, name: str) -> Iterator[IO[str]]:
    """Open a lock file, and reject a link in its place. Closing the file releases the lock."""
    with storage_errors(root / name):
        path = real_path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8", errors="replace")
    with stream:
        yield stream


def try_lock(stream: IO[Any], *, exclusive: bool, wait: bool = False) -> bool:
    """Take a lock if it is free, or `wait` for it, and return whether it was taken.

    Raises:
        StorageError: If the file system has no locks.
    """
    # The library imports clients of Redis and OpenTelemetry, which take longer than a command that only reads.
    import portalocker  # noqa: PLC0415
    from portalocker import LockFlags  # noqa: PLC0415

    kind = LockFlags.EXCLUSIVE if exclusive else LockFlags.SHARED
    try:
        portalocker.lock(stream, kind if wait else kind | LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except portalocker.LockException as error:
        raise StorageError(f"can't lock {stream.name}: {error}; give a --root on a file system with locks") from error
    return True


def _write_holder(stream: IO[str], path: Path, who: str) -> None:
    """Write the name of the holder into a lock file, for processes that wait.

    The name of the root's lock is not signed, so a non-empty file of that name may be the user's and is not overwritten.
    """
    stream.seek(0)
    if path.name != _ROOT or not stream.read(1):
        stream.truncate(0)
        # Not through the buffer: what a full disk left there would fail again when the file is closed.
        os.write(stream.fileno(), who.encode(errors="replace"))


def _lock_holder(stream: IO[str]) -> str:
    """Return the name of the holder in a lock file, or a general term if the file is empty."""
    stream.seek(0)
    return stream.read(_MAX_HOLDERS) or "another run"
