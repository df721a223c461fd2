"""Measure what is under a root; nothing is written."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.schemas.diagnosis import RootUsage
from tasks.storage.backend import CHECK_STORE, Root, storage_errors
from tasks.storage.folders import Folder
from tasks.storage.locks import is_idle
from tasks.storage.roots import known_root
from tasks.storage.s3_leases import LEASE_SECONDS

if TYPE_CHECKING:
    from upath import UPath

_OTHER = "other"  # files of others, such as the mirror in the data folder of a clone


def usage_of(root: Root) -> RootUsage:
    """Return the bytes by folder under a root, the unfinished work there, and whether a run is active.

    Raises:
        RootError: If the folder is not a root and not empty.
        StorageError: If the root can't be read or listed, or its bucket is missing or can't be reached.
    """
    if isinstance(root, Path):
        known_root(root)
        with storage_errors(root, verb="list"):
            return _usage_of_folder(root)
    with storage_errors(f"the root {root}", verb="read", remedy=CHECK_STORE):
        root.fs.info(root.path.partition("/")[0])  # a missing bucket would look like an empty root
        known_root(root)
        return _usage_of_store(root)


def _usage_of_folder(root: Path) -> RootUsage:
    sizes: Counter[str] = Counter()
    for folder, _, files in os.walk(root, onerror=_raise_unless_missing):
        for name in files:
            path = Path(folder, name)
            try:
                sizes[_folder_of(path.relative_to(root).as_posix())] += path.lstat().st_size
            except FileNotFoundError:  # removed in the meantime
                continue
    unfinished = sum(1 for folder in (Folder.UNFINISHED, Folder.SCRATCH) for _ in _entries(root / folder))
    return RootUsage(folders=_largest_first(sizes), unfinished=unfinished, in_use=not is_idle(root))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208  # names are enough
    except (FileNotFoundError, NotADirectoryError):
        return []


def _usage_of_store(root: "UPath") -> RootUsage:
    """Return the usage of a store, whose active runs hold leases that change at intervals."""
    sizes: Counter[str] = Counter()
    found: dict[str, dict[str, Any]] = root.fs.find(root.path, detail=True)
    latest: datetime | None = None
    for path, details in found.items():
        name = path.removeprefix(f"{root.path}/")
        sizes[_folder_of(name)] += int(details.get("size") or 0)
        changed = details.get("LastModified")
        if _folder_of(name) == Folder.LOCKS and changed:
            latest = max(changed, latest or changed)
    recently = datetime.now(UTC) - timedelta(seconds=LEASE_SECONDS)
    return RootUsage(folders=_largest_first(sizes), in_use=bool(latest and latest > recently))


def _folder_of(name: str) -> str:
    """Return the folder of the root that a file belongs to, given its path under the root."""
    top = name.partition("/")[0]
    return top if top in set(Folder) else _OTHER


def _largest_first(sizes: Counter[str]) -> dict[str, int]:
    return dict(sizes.most_common())
