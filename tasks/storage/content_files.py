"""Write files under the root atomically, name them by their content, and verify them before use.

A FileRecord describes a written file. Files that are missing or that differ from their record are rejected.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tasks.errors import StorageError
from tasks.filesystem.exclusive_name import claim_name
from tasks.filesystem.hashing import sha256_of
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root, buffered_upload, fault_in_store, io_errors, local_cache_dir, put
from tasks.storage.root_marker import mark_above

CHUNK_BYTES = 1 << 20  # 1 MiB: large enough that hashing dominates, not the calls
PART = ".part"  # suffix of temporary files


@contextlib.contextmanager
def atomic_write(path: Root, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing so that the file appears complete or not at all.

    The bytes are written to a temporary file in the same folder, flushed to disk, and renamed. In a store, they are
    uploaded in a single request. A replaced file keeps its mode.

    Args:
        path: The file to write.
        new: Whether the file must not exist yet; an existing file stays unchanged.

    Raises:
        StorageError: If the folder or the file cannot be written, or if a symbolic link has the name.
        FileExistsError: If `new` is set and the file exists.
    """
    if not isinstance(path, Path):
        with storage_errors(path, new=new), buffered_upload(path, new=new) as stream:
            yield stream
        return
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        stream = temporary.open("x+b")
    try:
        with storage_errors(path), stream:
            _inherit(path, temporary)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with storage_errors(path, new=new):
            if new:
                claim_name(temporary, path, _partial_of(path, f".{path.name}"))
            else:
                _replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    """Return a temporary name next to a file; under a root, it is signed, so that cleanup finds it."""
    return _partial_of(path, f".{path.name}.{secrets.token_hex(4)}")


def _partial_of(path: Path, stem: str) -> Path:
    """Return a temporary name next to a file, signed if the file is under a root."""
    mark = mark_above(path)
    return path.with_name(mark.signed(stem, PART) if mark else f"{stem}{PART}")


def _replace(written: Path, path: Path) -> None:
    """Rename a file to a name that may be taken, and keep the mode of the file that is replaced.

    Raises:
        OSError: If the system rejects the operation, or if a symbolic link has the name.
    """
    _inherit(path, written)
    written.replace(path)


def _inherit(path: Path, written: Path) -> None:
    """Give a file the mode of the file that it will replace, if that exists.

    Raises:
        OSError: If the system rejects the operation, or if `path` is a link.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise FileExistsError(errno.EEXIST, "a symbolic link is in its place: remove the link", str(path))
    if stat.S_ISREG(mode):
        written.chmod(stat.S_IMODE(mode))


def sync_folder(folder: Path) -> None:
    """Flush a rename in `folder` to disk, where the system supports it (Windows does not)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors(path: Root, *, new: bool = False) -> Iterator[None]:
    """Convert errors of the file system or the store into a StorageError that names the file.

    Args:
        path: The file that the block writes.
        new: Whether a FileExistsError passes through.

    Raises:
        StorageError: If the system or the store rejected an operation.
        FileExistsError: If `new` is set and the file exists.
    """
    try:
        yield
    except StorageError:
        raise
    except io_errors() as error:
        if new and isinstance(error, FileExistsError):
            raise
        raise StorageError(f"can't write {path}: {os_error_reason(error)}; make room or give another --root") from error


def os_error_reason(error: Exception) -> str:
    """Return the system's short reason for an error; HDF5 hides the reason inside a long message."""
    inside = re.search(r"error message = '([^']+)'", str(error))
    return inside[1] if inside else getattr(error, "strerror", None) or str(error)


def write_content_addressed(root: Root, folder: str, stem: str, suffix: str, content: bytes | memoryview) -> FileRecord:
    """Write `content` to a file whose name contains the hash of the content.

    Files with different content never overwrite each other.
    """
    digest = hashlib.sha256(content).hexdigest()
    name = _content_path(digest, folder, stem, suffix)
    with atomic_write(root / name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=digest)


def _content_path(digest: str, folder: str, stem: str, suffix: str) -> str:
    """Return the content-addressed path under the root for a SHA-256 in hex."""
    return (PurePosixPath(folder) / f"{stem}-{digest[:12]}{suffix}").as_posix()


def write_text(root: Root, name: str, text: str) -> FileRecord:
    """Write a text in UTF-8 under the given name."""
    content = text.encode()
    with atomic_write(root / name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def move_into_store(root: Root, folder: str, stem: str, suffix: str, written: Path) -> FileRecord:
    """Rename a complete file under the root, or in its cache folder, to its content-addressed name.

    In a store, the file is uploaded.
    """
    digest = sha256_of(written)
    name = _content_path(digest, folder, stem, suffix)
    size = written.stat().st_size
    with storage_errors(root / name):
        if not isinstance(root, Path):
            put(written, root, name)
            return FileRecord(path=name, bytes=size, sha256=digest)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with written.open("rb") as stream:
            os.fsync(stream.fileno())
        _replace(written, path)
        sync_folder(path.parent)
    return FileRecord(path=name, bytes=size, sha256=digest)


def verify_file(root: Root, file: FileRecord, *, again: bool = False) -> str | None:
    """Return the reason why a file does not match its record, or None if it matches.

    Args:
        root: The root.
        file: The record of the file.
        again: Whether to download a file of a store even if there is a cached copy.
    """
    if not isinstance(root, Path):
        return fault_in_store(root, file, again=again)
    path = root / file.path
    try:
        size = path.stat().st_size
        if size != file.bytes:
            return f"{path} has {size:,} bytes, not {file.bytes:,}"
        if sha256_of(path) != file.sha256:
            return f"{path} was altered: its SHA-256 is not {file.sha256[:12]}…"
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return None


def require_valid(root: Root, file: FileRecord) -> Path:
    """Return the local path of a file that matches its record; for a store, the path of the cached copy.

    Raises:
        StorageError: If the file is missing or altered.
    """
    fault = verify_file(root, file)
    if fault:
        raise StorageError(f"{fault}; run again to recreate it")
    return local_cache_dir(root) / file.path


def require_all_valid(root: Root, files: Iterable[FileRecord]) -> list[Path]:
    """Return the local path of each file, verified by `require_valid`."""
    return [require_valid(root, file) for file in files]
