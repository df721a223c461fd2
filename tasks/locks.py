"""Locks: who may do what under a root at the same time, across processes.

Whoever works under a root shares it; whoever removes files from it has it alone. Whoever makes a record has its key alone.
The locks are the operating system's (flock): it takes them away from a process that ends, however it ends, so that none is
ever left behind, and none of a live process is ever broken.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import portalocker
from portalocker import LockFlags

from tasks.errors import StorageError
from tasks.files import writable

FOLDER, ROOT = "locks", "root.lock"
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 1.0  # before a line says what is waited for

Say = Callable[[str, int], None]  # a line, and its level of logging


@contextmanager
def shared(root: Path, say: Say) -> Iterator[None]:
    """Work under `root`, along with others.

    Raises:
        StorageError: the root can't be locked.
    """
    with locked(root / FOLDER / ROOT, LockFlags.SHARED, "", say):
        yield


@contextmanager
def alone(root: Path, who: str, say: Say) -> Iterator[None]:
    """Have `root` alone, once all others have left.

    Raises:
        StorageError: the root can't be locked.
    """
    with locked(root / FOLDER / ROOT, LockFlags.EXCLUSIVE, who, say, others="the runs under way"):
        yield


@contextmanager
def holding(root: Path, key: str, who: str, say: Say) -> Iterator[None]:
    """Have one key under `root` alone.

    Raises:
        StorageError: the root can't be locked.
    """
    with locked(root / FOLDER / f"{key}.lock", LockFlags.EXCLUSIVE, who, say):
        yield


@contextmanager
def alone_at_once(root: Path) -> Iterator[bool]:
    """Have `root` alone if nobody is at work there; else False.

    Raises:
        StorageError: the root can't be locked.
    """
    with opened(root / FOLDER / ROOT) as stream:
        yield taken(stream, LockFlags.EXCLUSIVE)


@contextmanager
def locked(path: Path, kind: LockFlags, who: str, say: Say, others: str = "") -> Iterator[None]:
    """Hold the lock on a file; wait for it, and say for whom.

    Raises:
        StorageError: the file system has no locks, or the file can't be made.
    """
    with opened(path) as stream:
        began, said = time.monotonic(), False
        while not taken(stream, kind):
            if not said and time.monotonic() - began > PATIENCE_SECONDS:
                say(f"waiting for {others or holder(stream)}: {path} is locked", logging.WARNING)
                said = True
            time.sleep(POLL_SECONDS)
        if kind == LockFlags.EXCLUSIVE:
            with writable(path):
                name(stream, who)
        yield


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """A lock's file; closing it gives the lock back."""
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    with stream:
        yield stream


def taken(stream: IO[str], kind: LockFlags) -> bool:
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


def name(stream: IO[str], who: str) -> None:
    """Write into a lock's file who has it, for those who wait."""
    stream.seek(0)
    stream.truncate()
    stream.write(who)
    stream.flush()


def holder(stream: IO[str]) -> str:
    """Who has a lock, as far as it is known."""
    stream.seek(0)
    return stream.read() or "another run"
