"""Roots: which folder, or which prefix of a bucket, may hold the project's files.

A root bears a mark (tasks/storage/root_marker.py). An empty folder becomes one; so does a root that has lost its mark, or is of
an earlier version, which had none: a sealed record proves it, or there is nothing but what a first run had begun when it was
killed. Anything else is somebody's, and is refused before a byte is written.
"""

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.errors import ChecksumError, RootError, StorageError
from tasks.storage.backend import Root, checked_store, io_errors, matching, read_whole, unwritable
from tasks.storage.checksummed_json import load_with_checksum
from tasks.storage.folders import CONTENT_NAME, KEY, MARK, RUN_NAME, Folder, is_own_key
from tasks.storage.root_marker import find_mark, is_real_folder, mark_root, new_mark, read_mark

_MOST_FOREIGN = 3  # entries of a foreign folder that are named
_SUBFOLDERS = ("mnist", "mnist-root", "mnist-files")  # of which the first that can be used is proposed
_MIRROR, _VOLUME = "mirror", "lost+found"  # what a clone's data/ holds, and what a new volume
# What a run has made before its first record: that of an earlier version, and where a back-up left out the hidden mark, that of
# this one, too. Nobody can tell any more by whom these names were signed. So what bears them stays: only the new mark's go.
_SIGNED = r"\.[0-9a-f]{16}"
_EARLY = re.compile(
    rf"{Folder.LOCKS}(/(root|{KEY.pattern}({_SIGNED})?)\.lock)?"
    rf"|{Folder.SCRATCH}(/{RUN_NAME.pattern}-(\w{{8}}(/[\w.-]+)?|[0-9a-f]{{8}}{_SIGNED}(\.[\w.]+)?))?"
    rf"|{Folder.UNFINISHED}(/{KEY.pattern}({_SIGNED})?(/[\w.-]+)?)?"
    rf"|{Folder.ARCHIVES}(/({CONTENT_NAME.pattern}|\.[\w.-]+\.part))?"
    rf"|{Folder.RECORDS}(/\.{KEY.pattern}\.json\.\w+\.part)?"
    rf"|{Folder.RUNS}|{Folder.SPLITS}"
)


def known_root(root: Root) -> Root:
    """The root, to read from: it may be empty or missing, and nothing is written.

    Raises:
        RootError: what is there is not ours.
        StorageError: it can't be read.
    """
    try:
        if _is_root(root) or _counts_as_empty(root):
            return root
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"can't read the root {root}: {error.strerror or error}; give another --root") from error
    raise _root_refusal(root)


def existing_root(root: Root) -> Root:
    """The root, where runs have been made under it before; nothing is written.

    Raises:
        RootError: what is there is not ours, or there is nothing.
        StorageError: it can't be read.
    """
    if not _is_root(known_root(root)):
        raise RootError(f"nothing was ever made under {root}: give the --root, or MNIST_ROOT, of the runs")
    return root


def root_to_change(root: Root) -> Root:
    """As `existing_root`, to write under; the mark stays as it is.

    Raises:
        RootError: what is there is not ours, or there is nothing.
        StorageError: it can't be read; a store can't be reached or written.
    """
    if not isinstance(root, Path):
        checked_store(root)
    return existing_root(root)


def _is_root(root: Root) -> bool:
    """Whether a folder bears our mark, or records prove that an earlier version has made it.

    Raises:
        StorageError: the mark is broken.
        OSError: it can't be read.
    """
    if isinstance(root, Path):
        return bool(find_mark(root)) or _is_proven(root) or (root.is_dir() and _only_begun(root))
    try:
        return bool(read_mark(read_whole(root / MARK), root / MARK))
    except FileNotFoundError:
        return _is_proven(root)


def _counts_as_empty(root: Root) -> bool:
    """Whether nothing is there but what a clone or a volume brings along.

    Raises:
        OSError: it can't be read.
    """
    names = set(_entries(root)) - {MARK}  # a mark that is not yet written
    if isinstance(root, Path) and _MIRROR in names and _is_offline_mirror(root):
        names.remove(_MIRROR)
    if isinstance(root, Path) and is_real_folder(root, _VOLUME):
        names.discard(_VOLUME)
    return not names


def _entries(root: Root) -> list[str]:
    """What lies in a folder, or under a prefix, by name; nothing, if there is none."""
    try:
        if isinstance(root, Path):
            return sorted(path.name for path in root.iterdir())
        return sorted(name.rstrip("/").rsplit("/", 1)[1] for name in root.fs.ls(root.path, detail=False))
    except FileNotFoundError:
        return []


def _is_offline_mirror(root: Path) -> bool:
    """Whether the mirror of a clone's data/ holds only what the repository has in it."""
    from tasks.config.dataset import load_dataset  # noqa: PLC0415  # for a clone's first run alone

    if not is_real_folder(root, f"{_MIRROR}/mnist") or _entries(root / _MIRROR) != ["mnist"]:
        return False
    names = {"README.md", *(archive.name for archive in load_dataset("mnist").archives())}
    found = list((root / _MIRROR / "mnist").iterdir())
    return all(path.name in names and stat.S_ISREG(path.lstat().st_mode) for path in found)


def _is_proven(root: Root) -> bool:
    """Whether there is a sealed record in the place that it names itself."""
    return any(_is_record(path, folder) for folder, path in _candidates(root))


def _candidates(root: Root) -> Iterator[tuple[Folder, Root]]:
    """Where sealed records lie; none in folders that are links."""
    for folder, pattern in (
        (Folder.RUNS, "*/run.json"),
        (Folder.RUNS, "*/study.json"),
        (Folder.CHAMPIONS, "*/*.json"),
        (Folder.RECORDS, "*.json"),
    ):
        if not isinstance(root, Path) or is_real_folder(root, folder):
            yield from ((folder, path) for path in matching(root, f"{folder}/{pattern}"))


def _is_record(path: Root, folder: Folder) -> bool:
    """Whether a file is a sealed record of ours."""
    try:
        found: Any = load_with_checksum(read_whole(path))
        if folder == Folder.RUNS:
            return bool(found["run"] == path.parent.name)
        if folder == Folder.CHAMPIONS:
            return path.stem == f"{found['number']:06}" and "predictions" in found
        return is_own_key(path.stem, found)
    except (OSError, ChecksumError, KeyError, TypeError, ValueError):
        return False


def _only_begun(root: Path) -> bool:
    """Whether a folder holds only what a run leaves that was killed before its first record, all of it in its place."""
    lock = root / Folder.LOCKS / "root.lock"
    if not is_real_folder(root, Folder.LOCKS) or lock.is_symlink() or not lock.is_file() or lock.stat().st_size:
        return False
    for folder, inside, files in os.walk(root):
        if Path(folder) == root:
            allowed = {_VOLUME} | ({_MIRROR} if is_real_folder(root, _MIRROR) and _is_offline_mirror(root) else set())
            inside[:] = [name for name in inside if name not in allowed]
        for name in (*inside, *files):
            path = Path(folder, name)
            if path.is_symlink() or not _EARLY.fullmatch(path.relative_to(root).as_posix()):
                return False
    return True


def _root_refusal(root: Root) -> RootError:
    """What is said of a place that is not ours."""
    names = _entries(root)
    more = f" and {len(names) - _MOST_FOREIGN} more" if len(names) > _MOST_FOREIGN else ""
    inside = next((name for name in _SUBFOLDERS if name not in names), f"{_SUBFOLDERS[0]}-{len(names)}")
    return RootError(
        f"{root} is not a root of mnist, and is not empty: it holds {', '.join(names[:_MOST_FOREIGN])}{more}; "
        f"give a folder of its own, such as --root {root / inside}"
    )


def _become_root(root: Root) -> None:
    """Mark a folder, made where it is missing, as a root.

    Raises:
        RootError: what is there is not ours.
        StorageError: it can't be made or written, or the file system has no locks.
        OSError: as a store or the system says it.
    """
    if not (_is_root(root) or _counts_as_empty(root)):
        raise _root_refusal(root)
    if isinstance(root, Path):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
        mark_root(root)
        return
    checked_store(root)
    path = root / MARK
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another process was first
            path.fs.pipe_file(path.path, new_mark(), mode="create")


def validate_root(root: Root) -> Root:
    """The root, absolute, made and marked where it is missing, and proven writable.

    Raises:
        RootError: what is there is not ours.
        StorageError: it can't be made or written.
    """
    root = root.absolute() if isinstance(root, Path) else root
    try:
        _become_root(root)
    except (RootError, StorageError):
        raise
    except io_errors() as error:
        if not isinstance(root, Path):
            raise unwritable(root, error) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"can't write under the root {root}: {reason}; give another --root or MNIST_ROOT") from error
    return root
