"""Keep the files of a root in a local folder."""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from tasks.base import LogLine
from tasks.errors import StorageError
from tasks.filesystem.exclusive_name import claim_name
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.inherited_rights import inherit_rights
from tasks.filesystem.regular_files import read_regular
from tasks.schemas.records import FileRecord
from tasks.storage.backend import MAX_RECORD, storage_errors
from tasks.storage.folders import PART, Folder
from tasks.storage.locks import ROOT_LOCK, file_lock
from tasks.storage.real_folders import real_path, real_place
from tasks.storage.root_marker import (
    find_mark,
    initial_entries,
    is_interrupted_first_run,
    is_real_folder,
    mark_above,
    mark_root,
)

# In these folders of the kernel, no account can create a file, although `os.access` reports them as writable for root.
_KERNEL = (Path("/proc"), Path("/sys"))


@dataclass(frozen=True)
class LocalStorage:
    """The `Storage` at a path of the file system, which follows no links that a user has put under a root."""

    path: Path
    remedy: ClassVar[str] = "give another --root or MNIST_ROOT"

    def read_whole(self) -> bytes:
        return read_regular(self.path, MAX_RECORD)

    @contextmanager
    def atomic_write(self, name: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """Write to a temporary file in the same folder, flush it to disk, and rename it.

        A replaced file keeps its rights.
        """
        with storage_errors(self.path / name):
            path = real_place(self.path, name)
            temporary = _temporary_name(path, f".{path.name}.{secrets.token_hex(4)}")
            stream = temporary.open("x+b")
        try:
            with storage_errors(path), stream:
                _inherit(path, temporary)
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            with storage_errors(path, new=new):
                if new:
                    claim_name(temporary, path, _temporary_name(path, f".{path.name}"))
                else:
                    _replace(temporary, path)
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)

    def may_be_file(self) -> bool:
        return self.path.is_file()

    def is_taken(self) -> bool:
        return os.path.lexists(self.path)

    def is_replaceable(self) -> bool:
        mode = self.path.lstat().st_mode
        return stat.S_ISREG(mode) and bool(mode & 0o222)

    def entries(self) -> list[str]:
        try:
            return sorted(path.name for path in self.path.iterdir())
        except FileNotFoundError:
            return []

    def newest(self, pattern: str, max_files: int) -> list[Path]:
        found: list[tuple[float, Path]] = []
        for path in self.path.glob(pattern):
            with suppress(OSError):  # removed in the meantime, or a broken link
                found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found, key=itemgetter(0), reverse=True)[:max_files]]

    def is_real_folder(self, name: str) -> bool:
        return is_real_folder(self.path, name)

    @property
    def cache_dir(self) -> Path:
        return self.path

    def move_in(self, written: Path, name: str) -> None:
        """Rename a file, and flush it and its folder to disk."""
        path = real_place(self.path, name)
        with written.open("rb") as stream:
            os.fsync(stream.fileno())
        _replace(written, path)
        sync_folder(path.parent)

    def verify(self, file: FileRecord, *, again: bool = False) -> str | None:  # noqa: ARG002  # always hashed
        path = self.path / file.path
        try:
            size = path.stat().st_size
            if size != file.bytes:
                return f"{path} has {size:,} bytes, not {file.bytes:,}"
            if sha256_of(path) != file.sha256:
                return f"{path} was altered: its SHA-256 is not {file.sha256[:12]}…"
        except OSError as error:
            return f"{path}: {error.strerror or error}"
        return None

    def inspect(self, file: FileRecord) -> str | None:
        return self.verify(file)

    def is_removable(self, file: FileRecord) -> bool:
        path = self.path / file.path
        try:
            real = self.is_real_folder(str(PurePosixPath(file.path).parent)) and stat.S_ISREG(path.lstat().st_mode)
        except OSError:
            return False
        return real and self.verify(file) is None

    def is_copy(self, name: str, original: str) -> bool:
        with suppress(OSError, ValueError):  # a ValueError if the other root's name is not one
            return not (Path(original) / name).samefile(self.path / name)
        return False

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def is_root_or_interrupted(self) -> bool:
        return bool(find_mark(self.path)) or (self.path.is_dir() and is_interrupted_first_run(self.path))

    def initial_entries(self) -> set[str]:
        return initial_entries(self.path)

    def create(self) -> None:
        """Create the folder, write a temporary file to it, and mark it.

        Raises:
            StorageError: If something else, or a link, has the name of a folder under the root.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._require_free_names()
        with tempfile.TemporaryFile(dir=self.path):
            pass
        mark_root(self.path)

    def check_creatable(self) -> None:
        """Check that the folder, or the nearest existing folder above it, can be written.

        Raises:
            StorageError: If something else, or a link, has the name of a folder under the root.
        """
        self._require_free_names()
        above = next(path for path in (self.path, *self.path.parents) if os.path.lexists(path))
        kernel = next((one for one in _KERNEL if above.resolve().is_relative_to(one)), None)
        if kernel:
            raise OSError(errno.EROFS, f"{kernel} holds no files of users", str(above))
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))

    def _require_free_names(self) -> None:
        """Check that nothing but folders has the names of the folders under the root."""
        for path in (real_path(self.path, folder) for folder in Folder):
            if os.path.lexists(path) and not path.is_dir():
                raise StorageError(f"{path} is not a folder, and files of runs belong there: move it to another place")

    def check_writable(self) -> None:
        """Check nothing: each write reports its own error."""

    def shared_lock(self, say: LogLine) -> AbstractContextManager[None]:
        return file_lock(self.path, ROOT_LOCK, "", say, exclusive=False)

    def exclusive_lock(self, who: str, say: LogLine) -> AbstractContextManager[None]:
        return file_lock(self.path, ROOT_LOCK, who, say, exclusive=True, others="the active runs")

    def key_lock(self, key: str, who: str, say: LogLine) -> AbstractContextManager[None]:
        return file_lock(self.path, f"{Folder.LOCKS}/{self.lock_name(key)}", who, say, exclusive=True)

    def lock_name(self, key: str) -> str:
        """Return the name of a key's lock file, signed if the root has a mark.

        The signature proves that the file belongs to the root and may be overwritten and removed.
        """
        mark = find_mark(self.path)
        return mark.signed(key, ".lock") if mark else f"{key}.lock"


def _temporary_name(path: Path, stem: str) -> Path:
    """Return a temporary name next to a file; under a root, the name is signed, so that cleanup finds the file."""
    mark = mark_above(path)
    return path.with_name(mark.signed(stem, PART) if mark else f"{stem}{PART}")


def _replace(written: Path, path: Path) -> None:
    """Rename a file to a name that may be taken, and keep the rights of the file that is replaced."""
    _inherit(path, written)
    written.replace(path)


def _inherit(path: Path, written: Path) -> None:
    """Give a file the rights of the file that it will replace, if that exists."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise FileExistsError(errno.EEXIST, "a symbolic link is in its place: remove the link", str(path))
    if stat.S_ISREG(mode):
        with written.open("rb") as stream:
            inherit_rights(path, stream.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a rename in `folder` to disk, where the system supports it (Windows does not)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
