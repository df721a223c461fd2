"""Made: sealed records of the files that are made outside of steps, such as pages, so that prune can tell them from others.

Each is written before the files that it names. So there is no moment at which a file of ours lies there unknown.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from tasks.base import Frozen
from tasks.errors import ChecksumError
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root, matching, name_under, read_whole
from tasks.storage.checksummed_json import load_with_checksum, write_checksummed
from tasks.storage.content_files import write_text
from tasks.storage.folders import Folder


class PageRecord(Frozen):
    """Files, and the runs that they are of: once one of these has gone, nobody needs the files."""

    files: tuple[FileRecord, ...]
    of: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Where it is kept under the root."""
        digest = hashlib.sha256(self.model_dump_json(indent=1).encode()).hexdigest()
        return f"{Folder.MADE}/{digest[:16]}.json"


def record_page(root: Root, made: PageRecord) -> None:
    """Keep a record of files that are about to be made.

    Raises:
        StorageError: it can't be written.
    """
    write_checksummed(root / made.name, made)


def all_page_records(root: Root) -> Iterator[tuple[FileRecord, PageRecord]]:
    """Every such record that is sound, and bears the name that its content gives; with the record's own file."""
    for path in matching(root, f"{Folder.MADE}/*.json"):
        try:
            raw = read_whole(path)
            made = PageRecord.model_validate(load_with_checksum(raw))
        except (OSError, ChecksumError, ValidationError):
            continue
        name = name_under(root, path)
        if name == made.name:
            yield FileRecord(path=name, bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest()), made


def write_page(root: Root, name: str, text: str, of: tuple[str, ...]) -> FileRecord:
    """Write a page of some runs; where its name is taken by what is not ours, under the next free name.

    Raises:
        StorageError: it can't be written.
    """
    content, free = text.encode(), free_name(root, name, of)
    record_page(
        root,
        PageRecord(
            files=(FileRecord(path=free, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()),), of=of
        ),
    )
    return write_text(root, free, text)


def free_name(root: Root, name: str, of: tuple[str, ...]) -> str:
    """The name that a page of some runs gets."""
    return next(one for one in _names_like(name) if _is_free(root, one, of))


def _names_like(name: str) -> Iterator[str]:
    """A name, and then `name-2`, `name-3` and so on, with its suffix."""
    path = PurePosixPath(name)
    yield name
    yield from (path.with_name(f"{path.stem}-{number}{path.suffix}").as_posix() for number in count(2))


def _is_free(root: Root, name: str, of: tuple[str, ...]) -> bool:
    """Whether nothing has a name, or only a page that was made for the same runs, and was neither changed nor locked since."""
    path = root / name
    if isinstance(path, Path):
        if not os.path.lexists(path):
            return True
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) or not mode & 0o222:
            return False
    elif not path.exists():
        return True
    content = read_whole(path)
    ours = FileRecord(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return bool((root / PageRecord(files=(ours,), of=of).name).exists())
