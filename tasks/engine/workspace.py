"""Provide the workspace of a run: its root, its name, and its temporary files.

Every step receives the Workspace, which is not part of the step's inputs: the same inputs give the same record under
any root. The names of temporary files and their folders are signed by the root (tasks/storage/root_marker.py). Files
that cannot be recognized as ours are never removed.
"""

import contextlib
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from tasks.base import Frozen
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.errors import ChecksumError
from tasks.filesystem.hashing import sha256_of
from tasks.schemas.records import Origin
from tasks.storage.backend import Root, open_root, storage_errors
from tasks.storage.checksummed_json import read_checked_body
from tasks.storage.folders import PART, Folder
from tasks.storage.locks import try_exclusive_lock
from tasks.storage.real_folders import real_path
from tasks.storage.root_marker import Mark, find_mark, is_real_folder, mark_root, signed_paths
from tasks.storage.storage import storage_of

STATE = "state.json"  # the progress of a training
_EPOCH = re.compile(r"epoch-\d{5}-([0-9a-f]{12})\.weights\.h5")


class Scratch:
    """Signed paths for temporary files: `scratch / name` has the suffix of the name, and is the same on each use."""

    def __init__(self, folder: Path, mark: Mark, run: str) -> None:
        self.folder, self.mark, self.run = folder, mark, run
        self.paths: dict[str, Path] = {}

    def __truediv__(self, name: str) -> Path:
        """Return the path of the temporary file `name`."""
        if name not in self.paths:
            stem, dot, suffix = name.partition(".")
            signed = self.mark.signed(f"{self.run}-{stem}-{secrets.token_hex(4)}", dot + suffix)
            self.paths[name] = self.folder / signed
        return self.paths[name]


class Workspace(Frozen):
    """The absolute root, the name of the run, its start time, and the key of the current step.

    `uncached` grows with each step of the flow's process that is not cached, which adds its origin.
    """

    root: Annotated[
        Root, BeforeValidator(lambda root: open_root(root) if isinstance(root, str) else root), PlainSerializer(str)
    ]
    run: str
    began: datetime = Field(default_factory=lambda: datetime.now(UTC))
    key: str = ""
    uncached: list[Origin] = Field(default_factory=list, exclude=True)

    @contextmanager
    def scratch(self) -> Iterator[Scratch]:
        """Yield paths for incomplete files in the file system of the root or of its cache folder.

        The files are removed at the end.
        """
        cache_dir = storage_of(self.root).cache_dir
        with storage_errors(cache_dir / Folder.SCRATCH):
            folder = real_path(cache_dir, Folder.SCRATCH)
            scratch = Scratch(folder, mark_root(cache_dir), self.run)
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
        finally:
            for path in scratch.paths.values():
                path.unlink(missing_ok=True)

    @property
    def resume_dir(self) -> Path:
        """The folder of files from which the next attempt of the step resumes.

        The folder stays until the step completes.

        Raises:
            StorageError: If the root cannot be marked, or if the folder is reached through a link.
        """
        cache_dir = storage_of(self.root).cache_dir
        with storage_errors(cache_dir):
            return real_path(cache_dir, f"{Folder.UNFINISHED}/{mark_root(cache_dir).signed(self.key)}")

    def partial(self, name: str) -> Path:
        """Return the path of an incomplete file in that folder, which grows until it is complete."""
        folder = self.resume_dir
        return folder / mark_root(storage_of(self.root).cache_dir).signed(name, ".partial")

    def finish(self) -> None:
        """Remove the folder of unfinished files after the step has completed."""
        cache_dir = storage_of(self.root).cache_dir
        if mark := find_mark(cache_dir):
            for path in unfinished_in(cache_dir, mark.signed(self.key), mark):
                discard(path)


@contextmanager
def open_workspace(root: Root, run: str) -> Iterator[Workspace]:
    """Yield a workspace under a root that other runs may use at the same time.

    The stale files of dead runs are removed before and after.

    Raises:
        StorageError: If the root cannot be locked.
    """
    with storage_errors(root):
        mark_root(storage_of(root).cache_dir)
    _remove_stale_files(root)
    try:
        with storage_of(root).shared_lock(log):
            yield Workspace(root=root, run=run)
    finally:
        with optional("removing temporary files", [], over=True):
            _remove_stale_files(root)


def _remove_stale_files(root: Root) -> None:
    """Remove stale files, unless another process uses the root.

    In that case the files may be in use; the last process to finish removes them. Files from which a training or a
    download can resume are kept. For a store, only the cache folder holds temporary files.
    """
    with try_exclusive_lock(storage_of(root).cache_dir) as nobody_else:
        if nobody_else:
            remove_all_stale_files(root)


def remove_all_stale_files(root: Root) -> None:
    """Remove stale files; the caller holds the exclusive lock on the root."""
    for path in list(stale_files(root)):
        discard(path)


def discard(path: Path) -> None:
    """Remove a file or an empty folder, and ignore errors."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            path.rmdir()
        else:
            path.unlink()


def stale_files(root: Root) -> Iterator[Path]:
    """Yield the files of dead runs, under the root or in its cache folder, that no run will resume.

    Files come before the folders that hold them.
    """
    cache_dir = storage_of(root).cache_dir
    mark = find_mark(cache_dir)
    if mark is None:
        return
    for folder in (Folder.SCRATCH, Folder.LOCKS):
        yield from filter(_is_file, signed_paths(cache_dir, folder, mark))
    for name in _folders_of(cache_dir):
        yield from (path for path in signed_paths(cache_dir, name, mark) if path.name.endswith(PART) and _is_file(path))
    for path in signed_paths(cache_dir, Folder.UNFINISHED, mark):
        if (root / Folder.RECORDS / f"{path.stem}.json").exists():
            yield from unfinished_in(cache_dir, path.name, mark)


def _folders_of(cache_dir: Path) -> Iterator[str]:
    """Yield every folder in which files are written, as a path under the root."""
    for folder in Folder:
        yield str(folder)
        if folder in {Folder.RUNS, Folder.CHAMPIONS, Folder.UNFINISHED} and is_real_folder(cache_dir, folder):
            yield from (f"{folder}/{path.name}" for path in (cache_dir / folder).iterdir())


def unfinished_in(cache_dir: Path, name: str, mark: Mark) -> Iterator[Path]:
    """Yield our files in a folder of unfinished files, then the folder."""
    folder = f"{Folder.UNFINISHED}/{name}"
    if mark.has_signed(name) and is_real_folder(cache_dir, folder):
        found = sorted((cache_dir / folder).iterdir())
        yield from (path for path in found if _is_file(path) and (mark.has_signed(path.name) or is_state(path)))
        yield cache_dir / folder


def is_state(path: Path) -> bool:
    """Return whether a file holds the state of a training: it has a valid checksum, or its name contains its hash."""
    epoch = _EPOCH.fullmatch(path.name)
    try:
        return sha256_of(path).startswith(epoch[1]) if epoch else path.name == STATE and bool(read_checked_body(path))
    except (OSError, ChecksumError):
        return False


def _is_file(path: Path) -> bool:
    """Return whether a path is a regular file and not a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
