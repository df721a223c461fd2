"""Pin: the sizes and the hashes of archives that a data set's file does not know yet.

In: the text of a data set's file. Out: the same text with every size and SHA-256, its comments and its order kept.
Refuses: archives that no mirror serves, or that don't hold what the file says of them. A mirror that serves something else,
such as a web page with status 200, or more than the archive can have, is named and passed over.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

from tasks.config.dataset import KINDS, SPLITS, Archive, Dataset, dataset_of, unpinned
from tasks.data.archive_reader import BYTE, image_label_blocks, read_archive_blocks
from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.idx import Header
from tasks.data.mirrors import NoMirrorError, Tell, first_to_serve, is_complete, looks_like_a_page
from tasks.data.split_parquet import rows_of
from tasks.engine.run_log import log
from tasks.errors import DatasetError, DecodeError
from tasks.filesystem.hashing import sha256_of
from tasks.safety.address import Address
from tasks.safety.stopping import raise_if_stopping

_PLACEHOLDER = {"bytes": 1, "sha256": "0" * 64}
_UNKNOWN = _PLACEHOLDER["sha256"]

# The most that an archive can have beside what the data set's file says of it: gzip adds a thousandth to what it can't
# compress, and a zip file may hold other members (EMNIST's: five times what one data set of it needs).
_GZIP_SHARE, _GZIP_BYTES = 64, 64 << 10
_ZIP_TIMES, _ZIP_BYTES = 16, 1 << 30
_LABEL_BYTES = 4  # of the largest whole numbers that IDX has

_MAGIC = (b"\x1f\x8b", b"PK", bytes(2))  # gzip, zip, IDX

PinReport = Callable[[str, int, int | None], None]  # an archive's name, how many bytes of it are there, and of how many


class Pin(NamedTuple):
    """What was found out of one archive: where in the file it stands, its size, its hash, and the mirror that served it."""

    place: str
    archive: Archive
    mirror: str


def pin_archives(
    text: str, called: str, folder: Path, scratch: Path, report: PinReport = lambda *_: None, tell: Tell = log
) -> tuple[str, list[Pin]]:
    """Fetch the unpinned archives of a data set into `scratch`, and fill in what the file lacks.

    Relative paths count from `folder`. What is pinned already stays, and is fetched to see whether all fits together.

    Raises:
        DatasetError: the file is half-specified otherwise.
        DownloadError: no mirror served an archive.
        DecodeError: the archives don't hold what the file says.
        Interrupted: the process has been told to stop.
    """
    document = _parsed(text, called)
    lacking = list(unpinned(document.unwrap()))
    sized = set()
    for place in lacking:
        table = _table_at(document, place)
        if "bytes" in table:
            sized.add(place)
        table.update({key: value for key, value in _PLACEHOLDER.items() if key not in table})
    sketch = dataset_of(document.unwrap(), called, folder)
    known = {sketch.parts()[place].name for place in sketch.parts() if place not in lacking or place in sized}
    had = {
        archive.name: _fetched(Wanted(archive, sketch, called, archive.name in known), scratch, report, tell)
        for archive in sketch.archives()
    }
    pins = []
    for place in lacking:
        archive, mirror = had[sketch.parts()[place].name]
        _table_at(document, place).update({"bytes": archive.bytes, "sha256": archive.sha256})
        pins.append(Pin(place, archive, mirror))
    pinned = dataset_of(document.unwrap(), called, folder)
    for place, archive in pinned.parts().items():
        if archive.whole != had[archive.name][0]:
            raise DatasetError(f"the data set {called}: {place}: {archive.name} is not what its size and SHA-256 say")
    _check_archive(pinned, scratch)
    return tomlkit.dumps(document), pins


def lacks_pins(text: str, called: str) -> bool:
    """Whether a data set's file lacks a size or a hash.

    Raises:
        DatasetError: it is no TOML.
    """
    return any(unpinned(_parsed(text, called).unwrap()))


def _parsed(text: str, called: str) -> tomlkit.TOMLDocument:
    """A file's text as a document that keeps its comments.

    Raises:
        DatasetError: it is no TOML.
    """
    try:
        return tomlkit.parse(text)
    except ValueError as error:  # whatever tomlkit finds
        raise DatasetError(f"the data set {called} is not TOML: {error}") from error


def _table_at(document: tomlkit.TOMLDocument, place: str) -> Any:
    """The table of one archive."""
    split, kind = place.split(".")
    return document[split][kind]


class Wanted(NamedTuple):
    """An archive to fetch, of a data set whose file is `called` so; `sized` if the file says how many bytes it has."""

    archive: Archive
    dataset: Dataset
    called: str
    sized: bool

    def parts(self) -> Iterator[tuple[str, Archive, Header]]:
        """What the archive holds, by its place in the data set's file, with the header that it must have."""
        for split in SPLITS:
            for kind in KINDS:
                expected = getattr(self.dataset, split)
                part: Archive = getattr(expected, kind)
                if part.name == self.archive.name:
                    item = self.dataset.stored_shape if kind == KINDS[0] else ()
                    yield f"{split}.{kind}", part, Header(BYTE, (expected.count, *item))

    @property
    def most(self) -> int:
        """The most bytes that the archive can have."""
        if self.sized:
            return self.archive.bytes
        found = list(self.parts())
        raw = sum(math.prod(header.shape) * (1 if len(header.shape) > 1 else _LABEL_BYTES) for _, _, header in found)
        if any(part.member for _, part, _ in found):
            return raw * _ZIP_TIMES + _ZIP_BYTES
        return raw + raw // _GZIP_SHARE + _GZIP_BYTES


def _fetched(wanted: Wanted, folder: Path, report: PinReport, tell: Tell) -> tuple[Archive, str]:
    """An archive from the first mirror that serves it: with its size and hash, and that mirror.

    Raises:
        NoMirrorError: none does.
        DecodeError: a mirror serves something, but not what the data set's file says; the message names the first of these.
        DatasetError: what a mirror serves is not what is pinned already.
    """
    archive = wanted.archive
    path = folder / archive.name
    refused: list[Exception] = []

    def fetch(url: Address) -> None:
        path.unlink(missing_ok=True)  # of another mirror, whose bytes need not be the same
        patience = AttemptLimit(wanted.most if wanted.sized else 0)
        is_complete(url, archive.name, path, wanted.most, patience, lambda *size: report(archive.name, *size), tell)
        try:
            _refuse_other(wanted, path)
        except (DatasetError, DecodeError) as error:
            refused.append(type(error)(f"{error}, from {url}"))
            raise MirrorError(f"it served something else: {error}") from None

    try:
        mirror, _ = first_to_serve(archive, wanted.dataset.mirrors, fetch, tell)
    except NoMirrorError as error:
        if refused:
            raise refused[0] from None
        raise NoMirrorError(archive, error.faults, f"correct `mirrors` or `urls` in {wanted.called}") from None
    return archive.model_copy(update={"bytes": path.stat().st_size, "sha256": sha256_of(path)}), mirror


def _refuse_other(wanted: Wanted, path: Path) -> None:
    """Refuse what a mirror has served in the place of an archive.

    Raises:
        MirrorFault: it is no archive, or too large.
        DatasetError: it is not what the data set's file has pinned.
        DecodeError: it is not whole, or holds something else than the data set's file says.
    """
    size = path.stat().st_size
    if size > wanted.most:
        raise MirrorError(f"it served more than the {wanted.most:,} bytes that the archive can have")
    with path.open("rb") as stream:
        first = stream.read(2)
    if first not in _MAGIC:
        what = "a web page" if looks_like_a_page(path) else "neither gzip, zip nor IDX"
        raise MirrorError(f"it served no archive: {size:,} bytes that are {what}")
    for place, part, header in wanted.parts():
        pinned = part.sha256 != _UNKNOWN
        if (pinned and sha256_of(path) != part.sha256) or (wanted.sized and size != part.bytes):
            said = f"{place}: {part.name} is not what its size and SHA-256 say"
            raise DatasetError(f"the data set {wanted.called}: {said}")
        for _ in read_archive_blocks(path, part, header, rows_of(wanted.dataset.shape)):
            raise_if_stopping()


def _check_archive(dataset: Dataset, folder: Path) -> None:
    """See whether the archives hold what the data set says.

    Raises:
        DecodeError: they don't.
        Interrupted: the process has been told to stop.
    """
    for split in (dataset.train, dataset.test):
        for _ in image_label_blocks(folder / split.images.name, folder / split.labels.name, dataset, split):
            raise_if_stopping()
