"""Record the files that are created outside of steps, such as HTML pages, so that prune can recognize them.

Each record is written before the files that it names, so that no file of ours ever exists without a record.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import PurePosixPath

from tasks.schemas.records import FileRecord
from tasks.schemas.root_paths import PathPart
from tasks.storage.backend import Root
from tasks.storage.checksummed_json import ContentNamed, write_checksummed
from tasks.storage.content_files import file_record, write_text
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of


class PageRecord(ContentNamed):
    """Files, and the runs that they belong to; once one of these runs is removed, the files are no longer needed."""

    folder = Folder.MADE

    files: tuple[FileRecord, ...]
    of: tuple[PathPart, ...] = ()


def write_page(root: Root, name: str, text: str, of: tuple[str, ...]) -> FileRecord:
    """Write a page of some runs; if an unrelated file has the name, use the next free name.

    Raises:
        StorageError: If the page or its record cannot be written.
    """
    free = free_name(root, name, of)
    made = PageRecord(files=(file_record(free, text.encode()),), of=of)
    write_checksummed(root, made.name, made)
    return write_text(root, free, text)


def write_new_file(root: Root, name: str, text: str, of: tuple[str, ...]) -> None:
    """Write a file of some runs, unless the name is taken.

    Raises:
        StorageError: If the file or its record cannot be written.
        FileExistsError: If the name is taken.
    """
    content = text.encode()
    made = PageRecord(files=(file_record(name, content),), of=of)
    write_checksummed(root, made.name, made)
    with storage_of(root).atomic_write(name, new=True) as stream:
        stream.write(content)


def free_name(root: Root, name: str, of: tuple[str, ...]) -> str:
    """Return the first free name for a page of some runs."""
    return next(one for one in names_like(name) if _is_free(root, one, of))


def names_like(name: str) -> Iterator[str]:
    """Yield a name, then `name-2`, `name-3` and so on, with the same suffix."""
    path = PurePosixPath(name)
    yield name
    yield from (path.with_name(f"{path.stem}-{number}{path.suffix}").as_posix() for number in count(2))


def _is_free(root: Root, name: str, of: tuple[str, ...]) -> bool:
    """Return whether a name may be used for a page of some runs.

    A name is free if there is no such file, or if the file is a page of the same runs that has been neither changed
    nor made read-only since.
    """
    storage = storage_of(root / name)
    if not storage.is_taken():
        return True
    if not storage.is_replaceable():
        return False
    ours = PageRecord(files=(file_record(name, storage.read_whole()),), of=of)
    return bool((root / ours.name).exists())
