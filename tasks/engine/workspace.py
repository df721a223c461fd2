"""Where a run works: the root that holds its files, and the name of the run.

A Workspace is handed to every step and is no part of a step's inputs: the same inputs give the same record under any root. What
is made for a while bears the root's signature in its name, and what has none is never removed (tasks/storage/root_marker.py).
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
from tasks.storage.backend import Root, local_cache_dir, open_root
from tasks.storage.checksummed_json import read_checked_body
from tasks.storage.content_files import PART, storage_errors
from tasks.storage.folders import Folder
from tasks.storage.locks import shared_lock, try_exclusive_lock
from tasks.storage.root_marker import Mark, find_mark, is_real_folder, mark_root, signed_paths

STATE = "state.json"  # how far a training has come
_EPOCH = re.compile(r"epoch-\d{5}-([0-9a-f]{12})\.weights\.h5")


class Scratch:
    """Names for temporary files: `scratch / name` is a path that ends with the name's suffix, the same each time."""

    def __init__(self, folder: Path, mark: Mark, run: str) -> None:
        self.folder, self.mark, self.run = folder, mark, run
        self.paths: dict[str, Path] = {}

    def __truediv__(self, name: str) -> Path:
        """The path of a file."""
        if name not in self.paths:
            stem, dot, suffix = name.partition(".")
            signed = self.mark.signed(f"{self.run}-{stem}-{secrets.token_hex(4)}", dot + suffix)
            self.paths[name] = self.folder / signed
        return self.paths[name]


class Workspace(Frozen):
    """The absolute root, the name of the run, when it began, and the key of the step under way."""

    root: Annotated[
        Root, BeforeValidator(lambda root: open_root(root) if isinstance(root, str) else root), PlainSerializer(str)
    ]
    run: str
    began: datetime = Field(default_factory=lambda: datetime.now(UTC))
    key: str = ""

    @contextmanager
    def scratch(self) -> Iterator[Scratch]:
        """Files of the root's file system, or of its shadow's, for what is not yet whole; gone at the end."""
        shadow = local_cache_dir(self.root)
        folder = shadow / Folder.SCRATCH
        with storage_errors(folder):
            scratch = Scratch(folder, mark_root(shadow), self.run)
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
        finally:
            for path in scratch.paths.values():
                path.unlink(missing_ok=True)

    @property
    def unfinished(self) -> Path:
        """A folder for what the step's next try goes on from; it stays until the step's record is kept."""
        shadow = local_cache_dir(self.root)
        with storage_errors(shadow):
            return shadow / Folder.UNFINISHED / mark_root(shadow).signed(self.key)

    def partial(self, name: str) -> Path:
        """A file in that folder that grows until it is whole."""
        folder = self.unfinished
        return folder / mark_root(local_cache_dir(self.root)).signed(name, ".partial")

    def finish(self) -> None:
        """Remove that folder, once the step's record is kept."""
        shadow = local_cache_dir(self.root)
        if mark := find_mark(shadow):
            for path in unfinished_in(shadow, mark.signed(self.key), mark):
                discard(path)


@contextmanager
def open_workspace(root: Root, run: str) -> Iterator[Workspace]:
    """Work under a root, along with other runs; what dead ones have left half-done is removed before and after.

    Raises:
        StorageError: the root can't be locked.
    """
    with storage_errors(root):
        mark_root(local_cache_dir(root))
    _remove_stale_files(root)
    try:
        with shared_lock(root, log):
            yield Workspace(root=root, run=run)
    finally:
        with optional("removing temporary files", [], over=True):
            _remove_stale_files(root)


def _remove_stale_files(root: Root) -> None:
    """Remove what nobody will finish, unless someone is at work: then it is theirs, or the last of them sweeps.

    What a training or a download has left for its next try stays. In a store nothing is half-done: only its shadow is swept.

    Raises:
        StorageError: the root can't be locked.
    """
    with try_exclusive_lock(local_cache_dir(root)) as nobody_else:
        if nobody_else:
            remove_all_stale_files(root)


def remove_all_stale_files(root: Root) -> None:
    """As `_remove_stale_files`, for who has the root alone."""
    for path in list(stale_files(root)):
        discard(path)


def discard(path: Path) -> None:
    """Remove a file, or a folder if nothing is in it, as far as the system lets."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            path.rmdir()
        else:
            path.unlink()


def stale_files(root: Root) -> Iterator[Path]:
    """What dead runs have left under the root, or in its shadow, that nobody goes on from: files, then their folders."""
    shadow = local_cache_dir(root)
    mark = find_mark(shadow)
    if mark is None:
        return
    for folder in (Folder.SCRATCH, Folder.LOCKS):
        yield from filter(_is_file, signed_paths(shadow, folder, mark))
    for name in _folders_of(shadow):
        yield from (path for path in signed_paths(shadow, name, mark) if path.name.endswith(PART) and _is_file(path))
    for path in signed_paths(shadow, Folder.UNFINISHED, mark):
        if (root / Folder.RECORDS / f"{path.stem}.json").exists():
            yield from unfinished_in(shadow, path.name, mark)


def _folders_of(shadow: Path) -> Iterator[str]:
    """Every folder in which files are written, by its path under the root."""
    for folder in Folder:
        yield str(folder)
        if folder in {Folder.RUNS, Folder.CHAMPIONS, Folder.UNFINISHED} and is_real_folder(shadow, folder):
            yield from (f"{folder}/{path.name}" for path in (shadow / folder).iterdir())


def unfinished_in(shadow: Path, name: str, mark: Mark) -> Iterator[Path]:
    """What of a step's unfinished files is ours, then their folder."""
    folder = f"{Folder.UNFINISHED}/{name}"
    if mark.has_signed(name) and is_real_folder(shadow, folder):
        found = sorted((shadow / folder).iterdir())
        yield from (path for path in found if _is_file(path) and (mark.has_signed(path.name) or is_state(path)))
        yield shadow / folder


def is_state(path: Path) -> bool:
    """Whether a file holds how far a training has come: it is sealed, or named by its content."""
    epoch = _EPOCH.fullmatch(path.name)
    try:
        return sha256_of(path).startswith(epoch[1]) if epoch else path.name == STATE and bool(read_checked_body(path))
    except (OSError, ChecksumError):
        return False


def _is_file(path: Path) -> bool:
    """Whether there is a regular file, and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
