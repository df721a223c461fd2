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
from tasks.filesystem.inherited_rights import inherit_rights
from tasks.storage.backend import os_error_reason
from tasks.storage.folders import PART
from tasks.storage.local_storage import sync_folder


@contextlib.contextmanager
def rewrite_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that the user named, to replace its content completely or not at all.

    The target of a symbolic link is rewritten. Mode, owner and access control list are kept. Read-only files are left
    unchanged, even if root runs the program.

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
                inherit_rights(target, stream.fileno())
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
    """Check in advance whether `rewrite_file` could replace a file.

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
    """Reject paths that are not regular files, files with several names, and read-only files.

    The system would let root write read-only files.
    """
    found = path.stat()
    mode = found.st_mode
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if not mode & 0o222 or not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only", str(path))
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it has another hard link, which would keep the earlier content", str(path))


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
