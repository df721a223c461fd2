"""Write files under the root atomically, name them by their content, and verify them before use.

A FileRecord describes a written file. Files that are missing or that differ from their record are rejected.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tasks.base import Frozen
from tasks.errors import StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root, storage_errors
from tasks.storage.storage import storage_of

CHUNK_BYTES = 1 << 20  # 1 MiB: large enough that hashing dominates, not the calls
DocumentModel = TypeVar("DocumentModel", bound=Frozen)


def write_content_addressed(root: Root, folder: str, stem: str, suffix: str, content: bytes | memoryview) -> FileRecord:
    """Write `content` to a file whose name contains the hash of the content.

    Files with different content never overwrite each other.
    """
    digest = hashlib.sha256(content).hexdigest()
    name = _content_path(digest, folder, stem, suffix)
    with storage_of(root).atomic_write(name) as stream:
        stream.write(content)
    return FileRecord(path=name, bytes=len(content), sha256=digest)


def write_document(root: Root, folder: str, stem: str, value: Frozen) -> FileRecord:
    """Write a value as JSON to a file whose name contains the hash of the content."""
    return write_content_addressed(root, folder, stem, ".json", value.model_dump_json().encode())


def _content_path(digest: str, folder: str, stem: str, suffix: str) -> str:
    """Return the content-addressed path under the root for a SHA-256 in hex."""
    return (PurePosixPath(folder) / f"{stem}-{digest[:12]}{suffix}").as_posix()


def write_text(root: Root, name: str, text: str) -> FileRecord:
    """Write a text in UTF-8 under the given name."""
    content = text.encode()
    with storage_of(root).atomic_write(name) as stream:
        stream.write(content)
    return file_record(name, content)


def file_record(name: str, content: bytes) -> FileRecord:
    """Return the record of a file with this content."""
    return FileRecord(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def move_into_store(root: Root, folder: str, stem: str, suffix: str, written: Path) -> FileRecord:
    """Rename a complete file under the root, or in its cache folder, to its content-addressed name.

    In a store, the file is uploaded.
    """
    digest = sha256_of(written)
    name = _content_path(digest, folder, stem, suffix)
    size = written.stat().st_size
    with storage_errors(root / name):
        storage_of(root).move_in(written, name)
    return FileRecord(path=name, bytes=size, sha256=digest)


def require_valid(root: Root, file: FileRecord) -> Path:
    """Return the local path of a file that matches its record; for a store, the path of the cached copy.

    Raises:
        StorageError: If the file is missing or altered.
    """
    storage = storage_of(root)
    if fault := storage.verify(file):
        raise StorageError(f"{fault}; run again to recreate it")
    return storage.cache_dir / file.path


def require_all_valid(root: Root, files: Iterable[FileRecord]) -> list[Path]:
    """Return the local path of each file, verified by `require_valid`."""
    return [require_valid(root, file) for file in files]


def read_document(root: Root, file: FileRecord, model: type[DocumentModel]) -> DocumentModel:
    """Return the content of a JSON file, verified by `require_valid`, as a value of the given model."""
    return model.model_validate_json(require_valid(root, file).read_bytes())
