"""Add the missing sizes and SHA-256 hashes of archives to a dataset's TOML file.

Comments and order of the file are preserved. Archives that no mirror serves, or that do not match the file, are
rejected; a mirror that serves something else, such as a web page with status 200 or too many bytes, is reported and
skipped.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tomlkit

from tasks.base import LogLine
from tasks.config.dataset import KINDS, SPLITS, Archive, Dataset, dataset_of, unpinned
from tasks.data.archive_reader import BYTE, image_label_blocks, read_archive_blocks
from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.idx import Header
from tasks.data.mirrors import NoMirrorError, download_file, first_to_serve, looks_like_a_page
from tasks.data.split_parquet import rows_of
from tasks.engine.run_log import log
from tasks.errors import DatasetError, DecodeError
from tasks.filesystem.hashing import sha256_of
from tasks.safety.address import Address
from tasks.safety.stopping import raise_if_stopping

_PLACEHOLDER = {"bytes": 1, "sha256": "0" * 64}
_UNKNOWN = _PLACEHOLDER["sha256"]

# Limits of an archive's size, relative to its uncompressed content: gzip adds a thousandth to incompressible data, and
# a zip file may hold other members (EMNIST's zip file has five times the size that one of its datasets needs).
_GZIP_SHARE, _GZIP_BYTES = 64, 64 << 10
_ZIP_TIMES, _ZIP_BYTES = 16, 1 << 30
_LABEL_BYTES = 4  # size of the largest integer type of IDX

_MAGIC = (b"\x1f\x8b", b"PK", bytes(2))  # gzip, zip, IDX

PinReport = Callable[[str, int, int | None], None]  # archive name, bytes received, total bytes if known


class Pin(NamedTuple):
    """Place of an archive in the dataset's file, the archive with its size and hash, and the mirror that served it."""

    place: str
    archive: Archive
    mirror: str


def pin_archives(
    text: str, name_or_path: str, folder: Path, scratch: Path, report: PinReport = lambda *_: None, tell: LogLine = log
) -> tuple[str, list[Pin]]:
    """Download the archives of a dataset into `scratch`, and add the missing sizes and hashes to its file.

    Archives that are pinned already are downloaded too, to check that all archives match the file. Pinned values do not
    change. Messages name the dataset as `name_or_path`, and relative paths in the file refer to `folder`.

    Returns:
        The completed text, and one pin for each archive that lacked a size or a hash.

    Raises:
        DatasetError: If the file is invalid in another respect, or an archive does not match a pinned value.
        DownloadError: If no mirror serves an archive.
        DecodeError: If the archives do not hold what the file says.
        Interrupted: If the process has been asked to stop.
    """
    document = _parsed(text, name_or_path)
    lacking = list(unpinned(document.unwrap()))
    sized = set()
    for place in lacking:
        table = _table_at(document, place)
        if "bytes" in table:
            sized.add(place)
        table.update({key: value for key, value in _PLACEHOLDER.items() if key not in table})
    sketch = dataset_of(document.unwrap(), name_or_path, folder)
    known = {sketch.parts()[place].name for place in sketch.parts() if place not in lacking or place in sized}
    had = {
        archive.name: _fetched(Wanted(archive, sketch, name_or_path, archive.name in known), scratch, report, tell)
        for archive in sketch.archives()
    }
    pins = []
    for place in lacking:
        archive, mirror = had[sketch.parts()[place].name]
        _table_at(document, place).update({"bytes": archive.bytes, "sha256": archive.sha256})
        pins.append(Pin(place, archive, mirror))
    pinned = dataset_of(document.unwrap(), name_or_path, folder)
    for place, archive in pinned.parts().items():
        if archive.whole != had[archive.name][0]:
            raise DatasetError(
                f"the dataset {name_or_path}: {place}: {archive.name} does not match its size and SHA-256"
            )
    _check_archive(pinned, scratch)
    return tomlkit.dumps(document), pins


def lacks_pins(text: str, name_or_path: str) -> bool:
    """Return whether a dataset's file lacks a size or a hash.

    Raises:
        DatasetError: If the text is not TOML.
    """
    return any(unpinned(_parsed(text, name_or_path).unwrap()))


def _parsed(text: str, name_or_path: str) -> tomlkit.TOMLDocument:
    """Parse a TOML text into a document that preserves comments."""
    try:
        return tomlkit.parse(text)
    except ValueError as error:  # base class of tomlkit's parse errors
        raise DatasetError(f"the dataset {name_or_path} is not TOML: {error}") from error


def _table_at(document: tomlkit.TOMLDocument, place: str) -> Any:
    """Return the table of the archive at a place such as `train.images`."""
    split, kind = place.split(".")
    return document[split][kind]


class Wanted(NamedTuple):
    """Archive to download, and the dataset that it belongs to.

    `name_or_path` is the name of the dataset in messages. `sized` is true if the file gives the size of the archive.
    """

    archive: Archive
    dataset: Dataset
    name_or_path: str
    sized: bool

    def parts(self) -> Iterator[tuple[str, Archive, Header]]:
        """Yield the parts of the dataset that the archive holds: place in the file, archive, and expected header."""
        for split in SPLITS:
            for kind in KINDS:
                expected = getattr(self.dataset, split)
                part: Archive = getattr(expected, kind)
                if part.name == self.archive.name:
                    item = self.dataset.stored_shape if kind == KINDS[0] else ()
                    yield f"{split}.{kind}", part, Header(BYTE, (expected.count, *item))

    @property
    def max_bytes(self) -> int:
        """Largest possible size of the archive in bytes."""
        if self.sized:
            return self.archive.bytes
        found = list(self.parts())
        raw = sum(math.prod(header.shape) * (1 if len(header.shape) > 1 else _LABEL_BYTES) for _, _, header in found)
        if any(part.member for _, part, _ in found):
            return raw * _ZIP_TIMES + _ZIP_BYTES
        return raw + raw // _GZIP_SHARE + _GZIP_BYTES


def _fetched(wanted: Wanted, folder: Path, report: PinReport, tell: LogLine) -> tuple[Archive, str]:
    """Download an archive from the first mirror that serves it.

    Returns:
        The archive with its size and hash, and the mirror.
    """
    archive = wanted.archive
    path = folder / archive.name
    refused: list[Exception] = []

    def fetch(url: Address) -> None:
        path.unlink(missing_ok=True)  # left by another mirror, whose bytes may differ
        limit = AttemptLimit(wanted.max_bytes if wanted.sized else 0)
        download_file(url, archive.name, path, wanted.max_bytes, limit, lambda *size: report(archive.name, *size), tell)
        try:
            _refuse_other(wanted, path)
        except (DatasetError, DecodeError) as error:
            refused.append(type(error)(f"{error}, from {url}"))
            raise MirrorError(f"it served a different file: {error}") from None

    try:
        mirror, _ = first_to_serve(archive, wanted.dataset.mirrors, fetch, tell)
    except NoMirrorError as error:
        if refused:
            raise refused[0] from None
        raise NoMirrorError(archive, error.faults, f"correct `mirrors` or `urls` in {wanted.name_or_path}") from None
    return archive.model_copy(update={"bytes": path.stat().st_size, "sha256": sha256_of(path)}), mirror


def _refuse_other(wanted: Wanted, path: Path) -> None:
    """Reject a downloaded file that is not the wanted archive."""
    size = path.stat().st_size
    if size > wanted.max_bytes:
        raise MirrorError(f"it served more than the maximum of {wanted.max_bytes:,} bytes for this archive")
    with path.open("rb") as stream:
        first = stream.read(2)
    if first not in _MAGIC:
        what = "a web page" if looks_like_a_page(path) else "neither gzip, zip nor IDX"
        raise MirrorError(f"it did not serve an archive: {size:,} bytes that are {what}")
    for place, part, header in wanted.parts():
        pinned = part.sha256 != _UNKNOWN
        if (pinned and sha256_of(path) != part.sha256) or (wanted.sized and size != part.bytes):
            message = f"{place}: {part.name} does not match its size and SHA-256"
            raise DatasetError(f"the dataset {wanted.name_or_path}: {message}")
        for _ in read_archive_blocks(path, part, header, rows_of(wanted.dataset.shape)):
            raise_if_stopping()


def _check_archive(dataset: Dataset, folder: Path) -> None:
    for split in (dataset.train, dataset.test):
        for _ in image_label_blocks(folder / split.images.name, folder / split.labels.name, dataset, split):
            raise_if_stopping()
