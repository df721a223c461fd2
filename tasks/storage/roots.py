"""Decide which folder, or which prefix of a bucket, may hold the project's files.

A root has a mark (tasks/storage/root_marker.py). An empty folder becomes a root. So does a root without a mark,
either because the mark was lost or because an earlier version created the root: a record with a valid checksum proves
it, or the folder holds only the files of a first run that was killed. Any other folder is rejected before anything is
written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.errors import ChecksumError, NothingFoundError, RootError
from tasks.storage.backend import Root, matching, storage_errors
from tasks.storage.checksummed_json import load_with_checksum
from tasks.storage.folders import Folder, is_own_key
from tasks.storage.storage import Storage, storage_of

_MAX_FOREIGN = 3  # entries of a rejected folder that the message names
_SUBFOLDERS = ("mnist", "mnist-root", "mnist-files")  # the message suggests the first name that is free


def known_root(root: Root) -> Root:
    """Return the root for reading; the root may be empty or missing, and nothing is written.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be read, or if its mark is invalid.
    """
    with storage_errors(f"the root {root}", verb="read", remedy=storage_of(root).remedy):
        _require_root_or_empty(root)
    return root


def existing_root(root: Root) -> Root:
    """Return a root under which runs have been made before; nothing is written.

    Raises:
        RootError: If the folder holds files of others.
        NothingFoundError: If the folder is empty or missing.
        StorageError: If the folder cannot be read, or if its mark is invalid.
    """
    with storage_errors(f"the root {root}", verb="read", remedy=storage_of(root).remedy):
        if not is_root(known_root(root)):
            raise NothingFoundError(f"there are no runs under {root}: give the --root, or MNIST_ROOT, of the runs")
    return root


def root_to_change(root: Root) -> Root:
    """Return an existing root for writing; the mark is not changed.

    Raises:
        RootError: If the folder is not a root, is empty, or is missing.
        StorageError: If the root cannot be read, or if a store cannot be reached or written.
    """
    storage = storage_of(root)
    with storage_errors(f"under the root {root}", remedy=storage.remedy):
        storage.check_writable()
    return existing_root(root)


def is_root(root: Root) -> bool:
    """Return whether a folder has a mark, or evidence that an earlier version or an interrupted first run created it."""
    return storage_of(root).is_root_or_interrupted() or any(
        _is_record(path, folder) for folder, path in _candidates(root)
    )


def _candidates(root: Root) -> Iterator[tuple[Folder, Root]]:
    """Yield the paths where records may be, with their top folders; folders that are links are skipped."""
    for folder, pattern in (
        (Folder.RUNS, "*/run.json"),
        (Folder.RUNS, "*/study.json"),
        (Folder.CHAMPIONS, "*/*.json"),
        (Folder.RECORDS, "*.json"),
    ):
        if storage_of(root).is_real_folder(folder):
            yield from ((folder, path) for path in matching(root, f"{folder}/{pattern}"))


def _is_record(path: Root, folder: Folder) -> bool:
    """Return whether a file is a record of ours with a valid checksum, in its original place."""
    try:
        found: Any = load_with_checksum(storage_of(path).read_whole())
        if folder == Folder.RUNS:
            return bool(found["run"] == path.parent.name)
        if folder == Folder.CHAMPIONS:
            return path.stem == f"{found['number']:06}" and "predictions" in found
        return is_own_key(path.stem, found)
    except (OSError, ChecksumError, KeyError, TypeError, ValueError):
        return False


def _require_root_or_empty(root: Root) -> None:
    """Reject a folder that is not a root and not empty."""
    if is_root(root):
        return
    storage = storage_of(root)
    names = storage.entries()
    if set(names) <= storage.initial_entries():
        return
    more = f" and {len(names) - _MAX_FOREIGN} more" if len(names) > _MAX_FOREIGN else ""
    inside = next((name for name in _SUBFOLDERS if name not in names), f"{_SUBFOLDERS[0]}-{len(names)}")
    raise RootError(
        f"{root} is not a root of mnist and is not empty: it holds {', '.join(names[:_MAX_FOREIGN])}{more}; "
        f"give a separate folder, such as --root {root / inside}"
    )


@contextmanager
def _usable(root: Root) -> Iterator[Storage]:
    """Yield the storage of a root, or of an empty place for one, and name the root in errors of the system."""
    storage = storage_of(root)
    with storage_errors(f"under the root {root}", remedy=storage.remedy):
        _require_root_or_empty(root)
        yield storage


def check_root(root: Root) -> None:
    """Check that a root can be used by a run, or created for it; nothing is written.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be created or written.
    """
    with _usable(root.absolute()) as storage:
        storage.check_creatable()


def validate_root(root: Root) -> Root:
    """Return the absolute root, created and marked if it is missing, after a check that it is writable.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the folder cannot be created or written.
    """
    root = root.absolute()
    with _usable(root) as storage:
        storage.create()
    return root
