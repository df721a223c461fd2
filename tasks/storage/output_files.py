"""Rewrite files that the user named, and create temporary folders.

These files were the user's before: a link stays a link, permissions are never widened, and read-only files are left
unchanged.
"""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.errors import StorageError
from tasks.storage.backend import os_error_reason
from tasks.storage.folders import PART
from tasks.storage.local_storage import sync_folder


@contextlib.contextmanager
def rewritten(path: Path) -> Iterator[BinaryIO]:
    """Open a file that the user named, to replace its content completely or not at all.

    The target of a link is rewritten. Mode and owner are kept. Read-only files are left unchanged, even if root runs
    the program.

    Raises:
        StorageError: If the file cannot be written.
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
    """Check in advance whether `rewritten` could replace a file.

    Raises:
        StorageError: If the file cannot be written.
    """
    target = path.resolve()
    try:
        _must_be_writable(target)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(errno.EACCES, f"its folder {target.parent} is read-only", str(path))
    except OSError as error:
        raise _unchanged(path, error) from error


def _unchanged(path: Path, error: OSError) -> StorageError:
    """Return the error for a file of the user that cannot be written."""
    return StorageError(f"can't write {path}: {os_error_reason(error)}; nothing was changed")


def _must_be_writable(path: Path) -> None:
    """Reject paths that are not regular files, and read-only files, which the system would let root write."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if not mode & 0o222 or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only", str(path))


def _hand_down(path: Path, stream: BinaryIO) -> None:
    """Give a new file the owner, group and mode of the file that it will replace, as far as this account may.

    If only the owner cannot be set, the group is still kept. If the group cannot be set, the former group members
    count as others, and others may be members of the new group: both get only the rights that both had.
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
        mode &= ~stat.S_ISUID  # which would be another account's
    if own.st_gid != found.st_gid:
        both = mode >> 3 & mode & 0o7
        mode = mode & ~(stat.S_ISGID | 0o77) | both << 3 | both
    os.fchmod(descriptor, mode)


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder that is removed at the end.

    Raises:
        OSError: If the folder cannot be created.
        StorageError: If a file in the folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        try:
            yield Path(folder)
        except StorageError as error:  # its advice is for files under a root
            if isinstance(error.__cause__, OSError):
                reason = os_error_reason(error.__cause__)
                raise StorageError(
                    f"can't write to {folder}: {reason}; make room, or set TMPDIR to a folder that has some"
                ) from error
            raise
