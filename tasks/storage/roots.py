"""Decide which folder, or which prefix of a bucket, may hold the project's files.

A root has a mark (tasks/storage/root_marker.py). An empty folder becomes a root. So does a root without a mark,
either because the mark was lost or because an earlier version created the root: a record with a valid checksum proves
it, or the folder holds only the files of a first run that was killed. Any other folder is rejected before anything is
written.
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

_MOST_FOREIGN = 3  # entries of a rejected folder that the message names
_SUBFOLDERS = ("mnist", "mnist-root", "mnist-files")  # the message suggests the first name that is free
_MIRROR, _VOLUME = "mirror", "lost+found"  # in data/ of a clone, and in a new volume
# Files that a run creates before its first record, in earlier versions and in this version (a backup may omit the
# hidden mark). The signatures of these names can no longer be verified, so the files are kept: cleanup removes only
# files that the new mark has signed.
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
    """Return the root for reading; the root may be empty or missing, and nothing is written.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be read, or if its mark is invalid.
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
    """Return a root under which runs have been made before; nothing is written.

    Raises:
        RootError: If the folder is not a root, is empty, or is missing.
        StorageError: If the folder cannot be read, or if its mark is invalid.
    """
    if not _is_root(known_root(root)):
        raise RootError(f"there are no runs under {root}: give the --root, or MNIST_ROOT, of the runs")
    return root


def root_to_change(root: Root) -> Root:
    """Return an existing root for writing; the mark is not changed.

    Raises:
        RootError: If the folder is not a root, is empty, or is missing.
        StorageError: If the root cannot be read, or if a store cannot be reached or written.
    """
    if not isinstance(root, Path):
        checked_store(root)
    return existing_root(root)


def _is_root(root: Root) -> bool:
    """Return whether a folder has a mark, or evidence that an earlier version or an interrupted first run created it.

    Raises:
        StorageError: If the mark is invalid.
        OSError: If the folder cannot be read.
    """
    if isinstance(root, Path):
        return bool(find_mark(root)) or _is_proven(root) or (root.is_dir() and _only_begun(root))
    try:
        return bool(read_mark(read_whole(root / MARK), root / MARK))
    except FileNotFoundError:
        return _is_proven(root)


def _counts_as_empty(root: Root) -> bool:
    """Return whether a folder holds nothing except what a clone or a new volume contains.

    Raises:
        OSError: If the folder cannot be read.
    """
    names = set(_entries(root)) - {MARK}  # a mark file may be there, but still empty
    if isinstance(root, Path) and _MIRROR in names and _is_offline_mirror(root):
        names.remove(_MIRROR)
    if isinstance(root, Path) and is_real_folder(root, _VOLUME):
        names.discard(_VOLUME)
    return not names


def _entries(root: Root) -> list[str]:
    """Return the sorted names in a folder or under a prefix; empty if there is no such folder."""
    try:
        if isinstance(root, Path):
            return sorted(path.name for path in root.iterdir())
        return sorted(name.rstrip("/").rsplit("/", 1)[1] for name in root.fs.ls(root.path, detail=False))
    except FileNotFoundError:
        return []


def _is_offline_mirror(root: Path) -> bool:
    """Return whether the mirror in the data folder of a clone holds only files of the repository."""
    from tasks.config.dataset import load_dataset  # noqa: PLC0415  # needed only for the first run of a clone

    if not is_real_folder(root, f"{_MIRROR}/mnist") or _entries(root / _MIRROR) != ["mnist"]:
        return False
    names = {"README.md", *(archive.name for archive in load_dataset("mnist").archives())}
    found = list((root / _MIRROR / "mnist").iterdir())
    return all(path.name in names and stat.S_ISREG(path.lstat().st_mode) for path in found)


def _is_proven(root: Root) -> bool:
    """Return whether the root has a record with a valid checksum whose path matches its content."""
    return any(_is_record(path, folder) for folder, path in _candidates(root))


def _candidates(root: Root) -> Iterator[tuple[Folder, Root]]:
    """Yield the paths where records may be, with their top folders; folders that are links are skipped."""
    for folder, pattern in (
        (Folder.RUNS, "*/run.json"),
        (Folder.RUNS, "*/study.json"),
        (Folder.CHAMPIONS, "*/*.json"),
        (Folder.RECORDS, "*.json"),
    ):
        if not isinstance(root, Path) or is_real_folder(root, folder):
            yield from ((folder, path) for path in matching(root, f"{folder}/{pattern}"))


def _is_record(path: Root, folder: Folder) -> bool:
    """Return whether a file is a record of ours with a valid checksum, in its original place."""
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
    """Return whether a folder holds only files, in their places, of a run that was killed before its first record."""
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
    """Return the error for a folder that is not a root and not empty."""
    names = _entries(root)
    more = f" and {len(names) - _MOST_FOREIGN} more" if len(names) > _MOST_FOREIGN else ""
    inside = next((name for name in _SUBFOLDERS if name not in names), f"{_SUBFOLDERS[0]}-{len(names)}")
    return RootError(
        f"{root} is not a root of mnist and is not empty: it holds {', '.join(names[:_MOST_FOREIGN])}{more}; "
        f"give a separate folder, such as --root {root / inside}"
    )


def _become_root(root: Root) -> None:
    """Mark a folder as a root; create the folder if it is missing.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be created or written, or if the file system has no locks.
        OSError: If the system rejects an operation; a store may raise its own errors.
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
        with contextlib.suppress(FileExistsError):  # another process was faster
            path.fs.pipe_file(path.path, new_mark(), mode="create")


def validate_root(root: Root) -> Root:
    """Return the absolute root, created and marked if it is missing, after a check that it is writable.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be created or written.
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
