"""Pin: the sizes and the hashes of archives that a data set's file does not know yet.

In: the text of a data set's file. Out: the same text with every size and SHA-256, its comments and its order kept.
Refuses: archives that no mirror serves, or that don't hold what the file says of them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

from tasks.dataset import Archive, Dataset, dataset_of, unpinned
from tasks.decode import pairs
from tasks.digest import sha256_of
from tasks.download import first_to_serve
from tasks.errors import DatasetError
from tasks.mirror import append

MOST_BYTES = 64 << 30  # of an archive whose size nobody has told
PLACEHOLDER = {"bytes": 1, "sha256": "0" * 64}


class Pin(NamedTuple):
    """What was found out of one archive: where in the file it stands, its size, its hash, and the mirror that served it."""

    place: str
    archive: Archive
    mirror: str


def pin(text: str, called: str, folder: Path, scratch: Path) -> tuple[str, list[Pin]]:
    """Fetch the unpinned archives of a data set into `scratch`, and fill in what the file lacks.

    Relative paths count from `folder`. What is pinned already stays, and is fetched to see whether all fits together.

    Raises:
        DatasetError: the file is half-specified otherwise.
        DownloadError: no mirror served an archive.
        DecodeError: the archives don't hold what the file says.
    """
    document = parsed(text, called)
    lacking = list(unpinned(document.unwrap()))
    for place in lacking:
        table = table_at(document, place)
        table.update({key: value for key, value in PLACEHOLDER.items() if key not in table})
    sketch = dataset_of(document.unwrap(), called, folder)
    had = {archive.name: fetched(archive, sketch.mirrors, scratch) for archive in sketch.archives()}
    pins = []
    for place in lacking:
        archive, mirror = had[sketch.parts()[place].name]
        table_at(document, place).update({"bytes": archive.bytes, "sha256": archive.sha256})
        pins.append(Pin(place, archive, mirror))
    pinned = dataset_of(document.unwrap(), called, folder)
    for place, archive in pinned.parts().items():
        if archive.whole != had[archive.name][0]:
            raise DatasetError(f"the data set {called}: {place}: {archive.name} is not what its size and SHA-256 say")
    check(pinned, scratch)
    return tomlkit.dumps(document), pins


def parsed(text: str, called: str) -> tomlkit.TOMLDocument:
    """A file's text as a document that keeps its comments.

    Raises:
        DatasetError: it is no TOML.
    """
    try:
        return tomlkit.parse(text)
    except ValueError as error:  # whatever tomlkit finds
        raise DatasetError(f"the data set {called} is not TOML: {error}") from error


def table_at(document: tomlkit.TOMLDocument, place: str) -> Any:
    """The table of one archive."""
    split, kind = place.split(".")
    return document[split][kind]


def fetched(archive: Archive, mirrors: tuple[str, ...], folder: Path) -> tuple[Archive, str]:
    """An archive from the first mirror that serves any: with its size and hash, and that mirror.

    Raises:
        NoMirrorError: none does.
    """
    path = folder / archive.name

    def fetch(url: str) -> None:
        path.unlink(missing_ok=True)
        append(url, path, MOST_BYTES)

    mirror, _ = first_to_serve(archive, mirrors, fetch)
    return archive.model_copy(update={"bytes": path.stat().st_size, "sha256": sha256_of(path)}), mirror


def check(dataset: Dataset, folder: Path) -> None:
    """See whether the archives hold what the data set says.

    Raises:
        DecodeError: they don't.
    """
    for split in (dataset.train, dataset.test):
        for _ in pairs(folder / split.images.name, folder / split.labels.name, dataset, split):
            pass
