"""Keep the files of a root under a prefix of an object store.

Files in an object store can be neither renamed nor mapped into memory. Therefore files for a store are first written
to a local cache folder and then uploaded whole, and files from the store are copied to the cache and hashed. A copy
is reused as long as the store holds the same version. The cache folder may be deleted whenever no process uses it.
"""

import hashlib
import os
import secrets
import socket
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from tasks.base import LogLine
from tasks.errors import StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.trusted_files import cache_folder
from tasks.schemas.records import FileRecord
from tasks.storage.backend import CHECK_STORE, io_errors, objects_matching, read_object, storage_errors, version_of
from tasks.storage.folders import MARK, Folder
from tasks.storage.local_storage import LocalStorage
from tasks.storage.locks import ROOT_LOCK
from tasks.storage.real_folders import real_path, real_place
from tasks.storage.root_marker import mark_root, new_mark, read_mark
from tasks.storage.s3_leases import exclusive_lease, exclusive_when_idle, shared_lease

if TYPE_CHECKING:
    from upath import UPath

_AT_WORK = "at-work"  # the folder of the leases that share the root
_TAG = ".tag"  # suffix of the file that records the version of a cached copy


@dataclass(frozen=True)
class S3Storage:
    """The `Storage` at a path of an object store, which has neither folders nor links."""

    path: "UPath"
    remedy: ClassVar[str] = CHECK_STORE

    def read_whole(self) -> bytes:
        return read_object(self.path)

    @contextmanager
    def atomic_write(self, name: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """Upload the bytes in a single request if the block ends without an error."""
        stream, path = BytesIO(), self.path / name
        with storage_errors(path, new=new):
            yield stream
            path.fs.pipe_file(path.path, stream.getvalue(), mode="create" if new else "overwrite")

    def may_be_file(self) -> bool:
        return True  # a store lists only objects

    def is_taken(self) -> bool:
        return bool(self.path.exists())

    def is_replaceable(self) -> bool:
        return True  # objects are not read-only

    def entries(self) -> list[str]:
        try:
            return sorted(name.rstrip("/").rsplit("/", 1)[1] for name in self.path.fs.ls(self.path.path, detail=False))
        except FileNotFoundError:
            return []

    def newest(self, pattern: str, max_files: int) -> "list[UPath]":
        """Return the latest objects, found with one request instead of one for each."""
        with storage_errors(self.path, verb="list"):
            found = objects_matching(self.path, pattern)
        return sorted(found, key=lambda path: found[path]["LastModified"], reverse=True)[:max_files]

    def is_real_folder(self, _name: str) -> bool:
        return True  # a store has no links

    @property
    def cache_dir(self) -> Path:
        return Path(cache_folder(), hashlib.sha256(str(self.path).encode()).hexdigest()[:16])

    def move_in(self, written: Path, name: str) -> None:
        """Upload a file of the cache folder, and keep the file as the cached copy."""
        path = self.path / name
        path.fs.put_file(str(written), path.path)
        self._keep_copy(written, name, version_of(path)[1])

    def _keep_copy(self, written: Path, name: str, version: str) -> None:
        """Move a file into the cache folder, without following links, and record the version that it is a copy of."""
        cache = LocalStorage(self.cache_dir)
        cache.move_in(written, name)
        with cache.atomic_write(_tag_of(name)) as stream:
            stream.write(version.encode())

    def verify(self, file: FileRecord, *, again: bool = False) -> str | None:
        return self._fault_of(file, download=True, again=again)

    def inspect(self, file: FileRecord) -> str | None:
        return self._fault_of(file, download=False)

    def _fault_of(self, file: FileRecord, *, download: bool, again: bool = False) -> str | None:
        """Return what `verify` returns; without `download`, compare only the size."""
        path = self.path / file.path
        try:
            size, version = version_of(path)
            if size != file.bytes:
                return f"{path} has {size:,} bytes, not {file.bytes:,}"
            if not download or (not again and self._has_copy(version, file)):
                return None
            with _temporary_download(self.cache_dir, PurePosixPath(file.path).name) as fetched:
                path.fs.get_file(path.path, str(fetched))
                if sha256_of(fetched) != file.sha256:
                    return f"{path} was altered: its SHA-256 is not {file.sha256[:12]}…"
                self._keep_copy(fetched, file.path, version)
        except FileNotFoundError:
            return f"{path}: No such file or directory"
        except io_errors() as error:
            return f"{path}: {error}"
        return None

    def _has_copy(self, version: str, file: FileRecord) -> bool:
        """Return whether the cached copy is of the given version and matches its record."""
        copy, tag = self.cache_dir / file.path, self.cache_dir / _tag_of(file.path)
        try:
            return tag.read_text() == version and sha256_of(copy) == file.sha256
        except OSError:
            return False

    def is_removable(self, file: FileRecord) -> bool:
        """Return whether an object matches its record, as the cached copy of the same version or its content proves."""
        path = self.path / file.path
        try:
            size, version = version_of(path)
            return size == file.bytes and (self._has_copy(version, file) or _object_sha256(path) == file.sha256)
        except io_errors():
            return False

    def is_copy(self, _name: str, _original: str) -> bool:
        return False  # objects of different roots are not compared

    def remove(self, name: str) -> None:
        path = self.path / name
        path.fs.rm_file(path.path)
        with suppress(StorageError):  # a file that is reached through a link is not a cached copy
            copy, tag = (real_path(self.cache_dir, one) for one in (name, _tag_of(name)))
            if tag.is_file() and copy.is_file():  # without a tag, not a cached copy
                copy.unlink()
                tag.unlink()

    def is_root_or_interrupted(self) -> bool:
        try:
            return bool(read_mark(read_object(self.path / MARK), self.path / MARK))
        except FileNotFoundError:
            return False

    def initial_entries(self) -> set[str]:
        return {MARK}

    def check_creatable(self) -> None:
        """Check nothing: `create` asks the store."""

    def create(self) -> None:
        self.check_writable()
        path = self.path / MARK
        if not path.exists():
            with suppress(FileExistsError):  # another process was faster
                path.fs.pipe_file(path.path, new_mark(), mode="create")

    def check_writable(self) -> None:
        """Check that the store is writable and supports conditional writes, which leases need."""
        probe = self.path / Folder.LOCKS / f"probe-{uuid.uuid4().hex}"
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        probe.fs.pipe_file(probe.path, b"", mode="create")
        try:
            probe.fs.pipe_file(probe.path, b"", mode="create")
        except FileExistsError:
            return
        finally:
            probe.fs.rm_file(probe.path)
        raise StorageError(
            f"can't lock under the root {self.path}: its store does not support conditional writes (If-None-Match)"
        )

    @contextmanager
    def shared_lock(self, say: LogLine) -> Iterator[None]:
        """Hold a shared lock on the cache folder, and a lease on the store."""
        shared, exclusive_object = self.path / Folder.LOCKS / _AT_WORK, self.path / ROOT_LOCK
        with (
            LocalStorage(self.cache_dir).shared_lock(say),
            shared_lease(shared, exclusive_object, _this_process(), say),
        ):
            yield

    @contextmanager
    def exclusive_lock(self, who: str, say: LogLine) -> Iterator[None]:
        """Hold an exclusive lock on the cache folder, and a lease on the store."""
        shared, exclusive_object, name = (
            self.path / Folder.LOCKS / _AT_WORK,
            self.path / ROOT_LOCK,
            f"{who} at {_this_process()}",
        )
        with (
            LocalStorage(self.cache_dir).exclusive_lock(who, say),
            exclusive_when_idle(shared, exclusive_object, name, say),
        ):
            yield

    def key_lock(self, key: str, who: str, say: LogLine) -> AbstractContextManager[None]:
        path = self.path / Folder.LOCKS / self.lock_name(key)
        return exclusive_lease(path, f"{who} at {_this_process()}", say)

    def lock_name(self, key: str) -> str:
        return f"{key}.lock"


def _object_sha256(path: "UPath") -> str:
    """Return the SHA-256 of an object's content, which is read in blocks."""
    with path.fs.open(path.path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tag_of(name: str) -> str:
    """Return the name of the file that records the version of a cached copy."""
    copy = PurePosixPath(name)
    return str(copy.with_name(f".{copy.name}{_TAG}"))


@contextmanager
def _temporary_download(cache: Path, name: str) -> Iterator[Path]:
    """Yield the path of a temporary file in the cache folder for a download."""
    signed = mark_root(cache).signed(f"{name}-{secrets.token_hex(4)}", ".fetched")
    fetched = real_place(cache, f"{Folder.SCRATCH}/{signed}")
    try:
        yield fetched
    finally:
        fetched.unlink(missing_ok=True)


def _this_process() -> str:
    """Return the host name and process ID, for processes that wait on other machines."""
    return f"{socket.gethostname()}, process {os.getpid()}"
