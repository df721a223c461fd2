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
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from tasks.errors import StorageError
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.regular_files import expand_user
from tasks.schemas.records import FileRecord
from tasks.storage.backend import io_errors, objects_matching, read_object, storage_errors, version_of
from tasks.storage.folders import MARK, Folder
from tasks.storage.local_storage import LocalStorage
from tasks.storage.locks import ROOT_LOCK, Say
from tasks.storage.root_marker import mark_root, new_mark, read_mark
from tasks.storage.s3_leases import exclusive_lease, exclusive_when_idle, shared_lease

if TYPE_CHECKING:
    from upath import UPath

_AT_WORK = "at-work"  # the folder of the leases that share the root
_SMALL = 1 << 20  # bytes; larger files are not downloaded to be hashed before their removal
_TAG = ".tag"  # suffix of the file that records the version of a cached copy


@dataclass(frozen=True)
class S3Storage:
    """The `Storage` at a path of an object store, which has neither folders nor links."""

    path: "UPath"
    remedy: ClassVar[str] = "check the bucket, AWS_ENDPOINT_URL and the credentials"

    def read_whole(self) -> bytes:
        return read_object(self.path)

    @contextmanager
    def atomic_write(self, *, new: bool = False) -> Iterator[BinaryIO]:
        """Upload the bytes in a single request if the block ends without an error."""
        stream = BytesIO()
        with storage_errors(self.path, new=new):
            yield stream
            self.path.fs.pipe_file(self.path.path, stream.getvalue(), mode="create" if new else "overwrite")

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

    def newest(self, pattern: str, most: int) -> "list[UPath]":
        """Return the latest objects, found with one request instead of one for each."""
        found = objects_matching(self.path, pattern)
        return sorted(found, key=lambda path: found[path]["LastModified"], reverse=True)[:most]

    def is_real_folder(self, _name: str) -> bool:
        return True  # a store has no links

    @property
    def cache_dir(self) -> Path:
        caches = os.environ.get("XDG_CACHE_HOME") or expand_user(
            "~/.cache", "cache folder (or the one that XDG_CACHE_HOME names)"
        )
        return Path(caches, "mnist-error-analysis", hashlib.sha256(str(self.path).encode()).hexdigest()[:16])

    def move_in(self, written: Path, name: str) -> None:
        """Upload a file of the cache folder, and keep the file as the cached copy."""
        path, copy = self.path / name, self.cache_dir / name
        path.fs.put_file(str(written), path.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        written.replace(copy)
        _tag_of(copy).write_text(version_of(path)[1])

    def verify(self, file: FileRecord, *, again: bool = False) -> str | None:
        path, copy = self.path / file.path, self.cache_dir / file.path
        try:
            size, version = version_of(path)
            if size != file.bytes:
                return f"{path} has {size:,} bytes, not {file.bytes:,}"
            if not again and _is_copy(copy, version, file):
                return None
            copy.parent.mkdir(parents=True, exist_ok=True)
            with _temporary_download(self.cache_dir, copy.name) as fetched:
                path.fs.get_file(path.path, str(fetched))
                if sha256_of(fetched) != file.sha256:
                    return f"{path} was altered: its SHA-256 is not {file.sha256[:12]}…"
                fetched.replace(copy)
            _tag_of(copy).write_text(version)
        except FileNotFoundError:
            return f"{path}: No such file or directory"
        except io_errors() as error:
            return f"{path}: {error}"
        return None

    def is_removable(self, file: FileRecord) -> bool:
        """Return whether an object matches its record.

        Large objects are checked by name and size only, because hashing would require downloading them.
        """
        path = self.path / file.path
        try:
            return version_of(path)[0] == file.bytes and (
                file.bytes > _SMALL or hashlib.sha256(read_object(path)).hexdigest() == file.sha256
            )
        except OSError:
            return False

    def is_copy(self, _name: str, _original: str) -> bool:
        return False  # objects of different roots are not compared

    def remove(self, name: str) -> None:
        path = self.path / name
        path.fs.rm_file(path.path)
        copy = self.cache_dir / name
        if _tag_of(copy).is_file() and copy.is_file() and not copy.is_symlink():  # without a tag, not a cached copy
            copy.unlink()
            _tag_of(copy).unlink()

    def is_begun(self) -> bool:
        try:
            return bool(read_mark(read_object(self.path / MARK), self.path / MARK))
        except FileNotFoundError:
            return False

    def initial_entries(self) -> set[str]:
        return {MARK}

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
    def shared_lock(self, say: Say) -> Iterator[None]:
        """Hold a shared lock on the cache folder, and a lease on the store."""
        shared, alone = self.path / Folder.LOCKS / _AT_WORK, self.path / ROOT_LOCK
        with LocalStorage(self.cache_dir).shared_lock(say), shared_lease(shared, alone, _this_process(), say):
            yield

    @contextmanager
    def exclusive_lock(self, who: str, say: Say) -> Iterator[None]:
        """Hold an exclusive lock on the cache folder, and a lease on the store."""
        shared, alone, name = self.path / Folder.LOCKS / _AT_WORK, self.path / ROOT_LOCK, f"{who} at {_this_process()}"
        with LocalStorage(self.cache_dir).exclusive_lock(who, say), exclusive_when_idle(shared, alone, name, say):
            yield

    def key_lock(self, key: str, who: str, say: Say) -> AbstractContextManager[None]:
        path = self.path / Folder.LOCKS / self.lock_name(key)
        return exclusive_lease(path, f"{who} at {_this_process()}", say)

    def lock_name(self, key: str) -> str:
        return f"{key}.lock"


def _tag_of(copy: Path) -> Path:
    """Return the path of the file that records the version of a cached copy."""
    return copy.with_name(f".{copy.name}{_TAG}")


def _is_copy(copy: Path, version: str, file: FileRecord) -> bool:
    """Return whether a cached copy is of the given version and matches its record."""
    try:
        return _tag_of(copy).read_text() == version and sha256_of(copy) == file.sha256
    except OSError:
        return False


@contextmanager
def _temporary_download(cache: Path, name: str) -> Iterator[Path]:
    """Yield the path of a temporary file in the cache folder for a download."""
    folder = cache / Folder.SCRATCH
    fetched = folder / mark_root(cache).signed(f"{name}-{secrets.token_hex(4)}", ".fetched")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield fetched
    finally:
        fetched.unlink(missing_ok=True)


def _this_process() -> str:
    """Return the host name and process ID, for processes that wait on other machines."""
    return f"{socket.gethostname()}, process {os.getpid()}"
