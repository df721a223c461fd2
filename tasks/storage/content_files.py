"""Files under the root: written whole or not at all, named by their content, checked before they are used.

In: bytes or a function that writes them. Out: a FileRecord. Refuses: a file that is gone or is not what its record says.
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

CHUNK_BYTES = 1 << 20  # 1 MiB: large enough that hashing, not the calls, takes the time
PART = ".part"  # how the temporary names end


@contextlib.contextmanager
def atomic_write(path: Root, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears complete, or not at all.

    The bytes go to a temporary name in the same folder, reach the disk, and are renamed; into a store, they are put together.
    With `new`, a file that is there already stays as it is. A file that is replaced hands down its mode.

    Raises:
        StorageError: the folder or the file can't be written, or a symbolic link is in its place.
        FileExistsError: it should be new, and is not.
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
    """A temporary name in the folder of a file; under a root, one that the root has signed, so that a sweep finds it."""
    return _partial_of(path, f".{path.name}.{secrets.token_hex(4)}")


def _partial_of(path: Path, stem: str) -> Path:
    """A name beside a file, signed as that of a temporary one."""
    mark = mark_above(path)
    return path.with_name(mark.signed(stem, PART) if mark else f"{stem}{PART}")


def _replace(written: Path, path: Path) -> None:
    """Rename a file that is written, in place of another, whose mode it takes over; never in place of a link.

    Raises:
        OSError: the system refuses, or a symbolic link is there.
    """
    _inherit(path, written)
    written.replace(path)


def _inherit(path: Path, written: Path) -> None:
    """Give a file the mode of the one that it will replace, if there is one.

    Raises:
        OSError: the system refuses, or what is there is a link.
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
    """Bring a rename in `folder` to the disk, where the system has a way to (Windows has none)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors(path: Root, *, new: bool = False) -> Iterator[None]:
    """Turn what the system says against a write into one line that names the file.

    Raises:
        StorageError: the system refused.
        FileExistsError: it should be `new`, and is not.
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
    """What the system says of an error, in a few words: HDF5 has it in the middle of many."""
    inside = re.search(r"error message = '([^']+)'", str(error))
    return inside[1] if inside else getattr(error, "strerror", None) or str(error)


def write_content_addressed(root: Root, folder: str, stem: str, suffix: str, content: bytes | memoryview) -> FileRecord:
    """Write `content` under a name that holds its hash, so that no file is ever overwritten by another content."""
    digest = hashlib.sha256(content).hexdigest()
    name = _content_path(digest, folder, stem, suffix)
    with atomic_write(root / name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=digest)


def _content_path(digest: str, folder: str, stem: str, suffix: str) -> str:
    """The path of a content under the root."""
    return (PurePosixPath(folder) / f"{stem}-{digest[:12]}{suffix}").as_posix()


def write_text(root: Root, name: str, text: str) -> FileRecord:
    """Write a text under a name of its own, in UTF-8."""
    content = text.encode()
    with atomic_write(root / name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def move_into_store(root: Root, folder: str, stem: str, suffix: str, written: Path) -> FileRecord:
    """Rename a file that already lies complete under the root, or in its shadow, to its content's name."""
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
    """What is wrong with a file, in a few words; None if it is what its record says.

    What a store holds is fetched only if it is not here already; with `again`, in any case.
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
    """The path of a file that is there and is what its record says; of its copy, if it lies in a store.

    Raises:
        StorageError: it is gone or altered.
    """
    fault = verify_file(root, file)
    if fault:
        raise StorageError(f"{fault}; run again to make it anew")
    return local_cache_dir(root) / file.path


def require_all_valid(root: Root, files: Iterable[FileRecord]) -> list[Path]:
    """The paths of files, as `require_valid` has each."""
    return [require_valid(root, file) for file in files]
