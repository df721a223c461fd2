"""Define the operations that a local folder and an object store implement differently."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, ClassVar, Protocol

from tasks.base import LogLine
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root
from tasks.storage.local_storage import LocalStorage
from tasks.storage.s3_storage import S3Storage


class Storage(Protocol):
    """The operations on a root, or on a folder or a file under a root; names are relative to that path.

    Unless an operation says otherwise, it raises the errors of the file system or of the store (`backend.io_errors`).
    It raises a StorageError if a mark is invalid, or if a root does not support locks. `say` is called with a line and
    a logging level if a lock takes a while.
    """

    remedy: ClassVar[str]  # advice for the user if the root cannot be written

    @property
    def cache_dir(self) -> Path:
        """The local folder in which the files of a root are written; for a local root, the root itself.

        Raises:
            InputError: If the account has no home directory.
        """

    def read_whole(self) -> bytes:
        """Return the content of a small file, all of the same version."""

    def atomic_write(self, name: str, *, new: bool = False) -> AbstractContextManager[BinaryIO]:
        """Open a file for writing so that it appears complete or not at all.

        Args:
            name: The path of the file under the root.
            new: Whether the file must not exist yet; an existing file stays unchanged.

        Raises:
            StorageError: If the folder or the file cannot be written, or if one of them is a symbolic link.
            FileExistsError: If `new` is set and the file exists.
        """

    def is_taken(self) -> bool:
        """Return whether a file, a folder or a link has this path."""

    def is_replaceable(self) -> bool:
        """Return whether a path that is taken is a regular file and not read-only."""

    def may_be_file(self) -> bool:
        """Return whether a path that was listed, but cannot be read, may be a file."""

    def entries(self) -> list[str]:
        """Return the sorted names in a folder; empty if there is no such folder."""

    def newest(self, pattern: str, max_files: int) -> Sequence[Root]:
        """Return at most `max_files` files of a folder whose names match a pattern, the latest first."""

    def move_in(self, written: Path, name: str) -> None:
        """Move a complete file from the root or its cache folder to a name under the root."""

    def verify(self, file: FileRecord, *, again: bool = False) -> str | None:
        """Return the reason why a file does not match its record, or None if it matches and is in the cache folder.

        With `again`, a file of a store is downloaded even if there is a cached copy.
        """

    def inspect(self, file: FileRecord) -> str | None:
        """Return what `verify` returns, as far as it can be found out without writing: of a store, it compares sizes."""

    def is_removable(self, file: FileRecord) -> bool:
        """Return whether a file exists, is not reached through a link, and matches the size and hash of its record."""

    def is_copy(self, name: str, original: str, /) -> bool:
        """Return whether a file was copied from the root `original`, which still has the file."""

    def remove(self, name: str) -> None:
        """Remove a file and its cached copy."""

    def is_real_folder(self, name: str, /) -> bool:
        """Return whether a folder exists and is not reached through a link; always true in a store."""

    def is_root_or_interrupted(self) -> bool:
        """Return whether a root has a mark, or holds only files of a run that was killed before its first record."""

    def initial_entries(self) -> set[str]:
        """Return the names that a root may hold before its first run."""

    def check_creatable(self) -> None:
        """Check a folder as far as this is possible without writing; in a store, `create` reports all faults."""

    def create(self) -> None:
        """Create a root if it is missing, check that it is writable, and mark it."""

    def check_writable(self) -> None:
        """Check that a store is writable and supports locks."""

    def shared_lock(self, say: LogLine) -> AbstractContextManager[None]:
        """Hold a shared lock on a root."""

    def exclusive_lock(self, who: str, say: LogLine) -> AbstractContextManager[None]:
        """Hold an exclusive lock on a root, and show the name `who` to processes that wait."""

    def key_lock(self, key: str, who: str, say: LogLine) -> AbstractContextManager[None]:
        """Hold an exclusive lock on a key under a root."""

    def lock_name(self, key: str) -> str:
        """Return the name of the lock on a key."""


def storage_of(path: Root) -> Storage:
    """Return the storage at a path: a root, or a folder or a file under a root."""
    return LocalStorage(path) if isinstance(path, Path) else S3Storage(path)
