"""Outputs: files that the user has named, and folders for what comes before them.

What is written there was the user's before: a link stays a link, a mode is never widened, what is read-only is left alone.
"""

import contextlib
import errno
import os
import secrets
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.errors import StorageError
from tasks.storage.content_files import PART, os_error_reason, sync_folder


@contextlib.contextmanager
def rewritten(path: Path) -> Iterator[BinaryIO]:
    """Open a file that the user has named, so that it is replaced whole or not at all, and stays what it was but for its bytes.

    Of a link, what it leads to is written. Mode and owner stay. What can only be read is left alone, also by root.

    Raises:
        StorageError: it can't be written.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        with contextlib.suppress(FileNotFoundError):
            _must_be_writable(target)
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(temporary.open("x+b"))
            stack.callback(temporary.unlink, missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _hand_down(target, stream)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(target)
            sync_folder(target.parent)
    except StorageError:
        raise
    except OSError as error:
        raise _unchanged(path, error) from error


def check_rewritable(path: Path) -> None:
    """See, before much is done for it, whether `rewritten` could replace a file.

    Raises:
        StorageError: it can't be written.
    """
    target = path.resolve()
    try:
        _must_be_writable(target)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, f"its folder {target.parent} is read-only", str(path))
    except OSError as error:
        raise _unchanged(path, error) from error


def _unchanged(path: Path, error: OSError) -> StorageError:
    """What is said of a file that the user has named and that can't be written."""
    return StorageError(f"can't write {path}: {os_error_reason(error)}; nothing was changed")


def rewrite(path: Path, content: bytes) -> None:
    """Write a file that the user has named, as `rewritten` does.

    Raises:
        StorageError: it can't be written.
    """
    with rewritten(path) as stream:
        stream.write(content)


def _must_be_writable(path: Path) -> None:
    """Refuse what is no file, and what can only be read: to root, the system would allow it.

    Raises:
        OSError: it is.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if not mode & 0o222 or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only", str(path))


def _hand_down(path: Path, stream: BinaryIO) -> None:
    """Give a file that is about to take another's place its owner, group and mode, as far as this account may.

    Of another account's file that the group may write, the group stays. Where it can't, those who had its rights are among all
    others now, and the other way round: both get what both had.

    Raises:
        OSError: the system refuses.
    """
    found, descriptor = path.stat(), stream.fileno()
    if os.name != "posix":
        return
    mode = stat.S_IMODE(found.st_mode)
    for owner, group in ((found.st_uid, found.st_gid), (-1, found.st_gid)):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner, group)
            break
    own = os.fstat(descriptor)
    if own.st_uid != found.st_uid:
        mode &= ~stat.S_ISUID  # which would be another's
    if own.st_gid != found.st_gid:
        both = mode >> 3 & mode & 0o7
        mode = mode & ~(stat.S_ISGID | 0o77) | both << 3 | both
    os.fchmod(descriptor, mode)


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A folder of the system's temporary files, gone at the end, also if that is SIGTERM's, which else ends Python at once.

    Raises:
        OSError: the folder can't be made.
        StorageError: a file in it can't be written.
    """
    handled = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if handled:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            try:
                yield Path(folder)
            except StorageError as error:  # whose remedy is for files under a root
                if isinstance(error.__cause__, OSError):
                    reason = os_error_reason(error.__cause__)
                    raise StorageError(
                        f"can't write to {folder}: {reason}; make room, or set TMPDIR to a folder that has some"
                    ) from error
                raise
    finally:
        if handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, _frame: object) -> None:
    """End as a shell reports the signal, with all that is to be done on the way out."""
    sys.exit(128 + number)
