"""Files under the root: written whole or not at all, named by their content, checked before they are used.

In: bytes or a function that writes them. Out: a FileRecord. Refuses: a file that is gone or is not what its record says.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tasks.errors import StorageError
from tasks.records import FileRecord

CHUNK = 1 << 20  # 1 MiB: large enough that hashing, not the calls, takes the time
PART = ".part"  # how the temporary names end


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def written_whole(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears complete, or not at all.

    The bytes go to a temporary name in the same folder, reach the disk, and are renamed. With `new`, a file that is there
    already stays as it is.

    Raises:
        StorageError: the folder or the file can't be written.
        FileExistsError: it should be new, and is not.
    """
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=PART, delete=False)
    try:
        with writable(path), temporary as stream:
            yield stream  # type: ignore[misc]  # the wrapper is a BinaryIO in all but name
            stream.flush()
            os.fsync(stream.fileno())
        with writable(path, new=new):
            Path(temporary.name).chmod(0o644)
            if new:
                path.hardlink_to(temporary.name)
            else:
                Path(temporary.name).replace(path)
            sync_folder(path.parent)
    finally:
        Path(temporary.name).unlink(missing_ok=True)


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
def writable(path: Path, *, new: bool = False) -> Iterator[None]:
    """Turn what the system says against a write into one line that names the file.

    Raises:
        StorageError: the system refused.
        FileExistsError: it should be `new`, and is not.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            raise
        raise StorageError(f"can't write {path}: {reason_of(error)}; make room or give another --root") from error


def reason_of(error: OSError) -> str:
    """What the system says of an error, in a few words: HDF5 has it in the middle of many."""
    inside = re.search(r"error message = '([^']+)'", str(error))
    return inside[1] if inside else error.strerror or str(error)


def checked_root(root: Path) -> Path:
    """The root, absolute, made where it is missing, and proven writable.

    Raises:
        StorageError: it can't be made or written.
    """
    root = root.expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"can't write under the root {root}: {reason}; give another --root or MNIST_ROOT") from error
    return root


def keep(root: Path, folder: str, stem: str, suffix: str, content: bytes | memoryview) -> FileRecord:
    """Write `content` under a name that holds its hash, so that no file is ever overwritten by another content."""
    digest = hashlib.sha256(content).hexdigest()
    path = root / folder / f"{stem}-{digest[:12]}{suffix}"
    with written_whole(path) as stream:
        stream.write(content)
    return FileRecord(path=path.relative_to(root).as_posix(), bytes=len(content), sha256=digest)


def write_text(root: Path, name: str, text: str) -> FileRecord:
    """Write a text under a name of its own, in UTF-8."""
    content = text.encode()
    with written_whole(root / name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def adopt(root: Path, folder: str, stem: str, suffix: str, written: Path) -> FileRecord:
    """Rename a file that already lies complete under the root to its content's name."""
    digest = sha256_of(written)
    path = root / folder / f"{stem}-{digest[:12]}{suffix}"
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        size = written.stat().st_size
        written.chmod(0o644)
        with written.open("rb") as stream:
            os.fsync(stream.fileno())
        written.replace(path)
        sync_folder(path.parent)
    return FileRecord(path=path.relative_to(root).as_posix(), bytes=size, sha256=digest)


def fault_of(root: Path, file: FileRecord) -> str | None:
    """What is wrong with a file on disk, in a few words; None if it is what its record says."""
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


def verified(root: Path, file: FileRecord) -> Path:
    """The path of a file that is there and is what its record says.

    Raises:
        StorageError: it is gone or altered.
    """
    fault = fault_of(root, file)
    if fault:
        raise StorageError(f"{fault}; run again to make it anew")
    return root / file.path


def all_verified(root: Path, files: Iterable[FileRecord]) -> list[Path]:
    """The paths of files, as `verified` has each."""
    return [verified(root, file) for file in files]
