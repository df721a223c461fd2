"""Read the images and labels of a split in blocks from its two archives.

An archive is rejected if it is not a complete gzip, zip or IDX file, or if its type, rank, shape, count or labels
differ from the dataset's. Memory use does not depend on the number of images: each header is checked before the data
that it announces is read.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from isal import igzip, isal_zlib  # decompresses in 40 % of zlib's time
from numpy.typing import NDArray

from tasks.config.dataset import Archive, Dataset
from tasks.config.dataset import SplitSpec as Expected
from tasks.data.idx import IDX_CHUNK_BYTES, Header, describe_header, read_blocks, read_header
from tasks.data.prefetch import prefetch
from tasks.data.split_parquet import Labels, label_type, rows_of
from tasks.errors import ArchiveError, ContentError, DecodeError

BYTE = np.dtype(np.uint8)
_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to expect the gzip format
_MAGIC = b"\x1f\x8b"
_BROKEN = (EOFError, BadGzipFile, cast("type[Exception]", isal_zlib.error))  # isal's stub types it as an instance

_MAX_DIRECTORY = 1 << 20  # bytes of a zip file's directory; 1 MiB lists more than 10,000 members

ImageBlock = NDArray[np.uint8]


def image_label_blocks(
    image_path: Path, label_path: Path, dataset: Dataset, expected: Expected
) -> Iterator[tuple[ImageBlock, Labels]]:
    """Yield blocks of images, (n, *image_shape) uint8, with their labels, (n,), numbered from 0.

    Raises:
        DecodeError: If an archive does not hold what the dataset specifies.
    """
    rows = rows_of(dataset.shape)
    header = Header(BYTE, (expected.count, *dataset.stored_shape))
    # Decompression takes as long as writing the blocks, so it runs ahead in another thread.
    images = prefetch(read_archive_blocks(image_path, expected.images, header, rows))
    labels = read_archive_blocks(label_path, expected.labels, Header(BYTE, (expected.count,)), rows)
    start = 0
    for pixels, numbers in zip(images, labels, strict=True):
        upright = np.ascontiguousarray(pixels.swapaxes(1, 2) if dataset.transposed else pixels)
        yield upright.reshape(-1, *dataset.image_shape), _validate_labels(numbers, dataset, expected, start)
        start += len(numbers)


def _validate_labels(numbers: NDArray[Any], dataset: Dataset, expected: Expected, start: int) -> Labels:
    """Return labels renumbered from 0, after checking their range; the first has the index `start` in the split."""
    classes = numbers.astype(np.int64) - dataset.first_label
    bad = np.flatnonzero((classes < 0) | (classes >= len(dataset.classes)))
    if bad.size:
        raise ContentError(
            f"{expected.labels.label}: label {numbers[bad[0]]} at index {start + bad[0]:,}, but {dataset.title} has labels "
            f"{dataset.first_label} to {dataset.first_label + len(dataset.classes) - 1}"
        )
    return cast("Labels", classes.astype(label_type(len(dataset.classes))))


def read_archive_blocks(path: Path, archive: Archive, expected: Header, rows: int) -> Iterator[NDArray[Any]]:
    """Yield the data of one archive in blocks of `rows` items, after checking its header.

    Raises:
        ArchiveError: If the file is not a complete gzip or zip file.
        IdxFormatError: If it does not hold a complete IDX file.
        ContentError: If its header differs from `expected`.
    """
    try:
        with _open_archive(path, archive.member) as packed, _decompress(packed) as stream:
            header = read_header(stream)
            _check_header(header, expected)
            yield from read_blocks(stream, header, rows)
    except DecodeError as error:
        raise type(error)(f"{archive.label}: {error}") from error
    except _BROKEN as error:
        fault = (
            "bytes follow the end of its gzip data; compress the file again"
            if _has_trailing_bytes(path, archive.member)
            else f"not a complete gzip file: {error}"
        )
        raise ArchiveError(f"{archive.label}: {fault}") from error


@contextmanager
def _open_archive(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with _ZipReader(io.FileIO(path)) as stored, zipfile.ZipFile(stored) as files:
            stored.max_bytes = None
            if member not in files.namelist():
                raise ArchiveError(f"the zip file has no member {member}")
            with files.open(member) as stream:
                yield stream
    except (DecodeError, *_BROKEN):
        raise
    # Encrypted members and unsupported compression methods raise a RuntimeError.
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, OSError) as error:
        raise ArchiveError(f"not a readable zip file: {error}") from error


class _ZipReader(io.BufferedReader):
    """A reader of a zip file that raises an error for more than `max_bytes` bytes at once.

    `zipfile` reads the whole directory at once, and creates an object of several hundred bytes for each entry of 46.
    """

    max_bytes: int | None = _MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.max_bytes is None:
            return super().read(size)
        wanted = self.max_bytes + 1 if size is None or size < 0 else size
        found = super().read(min(wanted, self.max_bytes + 1))
        if len(found) > self.max_bytes:
            raise ArchiveError(f"the directory of the zip file has more than {self.max_bytes:,} bytes")
        return found


@contextmanager
def _decompress(packed: IO[bytes]) -> Iterator[BinaryIO]:
    """Open the content of a gzip file, or of an uncompressed IDX file.

    An IDX file starts with two zero bytes, which no gzip file does.
    """
    plain = packed.read(2) == bytes(2)
    packed.seek(0)
    if plain:
        yield cast("BinaryIO", packed)
    else:
        with igzip.IGzipFile(fileobj=packed, mode="rb") as stream:  # type: ignore[no-untyped-call]
            yield cast("BinaryIO", stream)


def _has_trailing_bytes(path: Path, member: str | None) -> bool:
    """Return whether a broken gzip file is a complete one that is followed by other bytes."""
    try:
        with _open_archive(path, member) as packed:
            return bool(_trailing_bytes(packed))
    except (ArchiveError, OSError, zlib.error, *_BROKEN):
        return False


def _trailing_bytes(packed: IO[bytes]) -> bytes:
    """Return the first bytes after the last member of a gzip file, which may have several members.

    The result is empty if nothing follows, or if the last member is incomplete.
    """
    rest = _MAGIC  # start of the first member
    packed.seek(len(_MAGIC))
    while rest.startswith(_MAGIC):
        data = zlib.decompressobj(wbits=_GZIP)
        while not data.eof:
            chunk = rest or packed.read(IDX_CHUNK_BYTES)
            if not chunk:
                return b""
            data.decompress(chunk, IDX_CHUNK_BYTES)
            rest = data.unconsumed_tail
        rest = data.unused_data + packed.read(len(_MAGIC))
    return rest


def _check_header(found: Header, expected: Header) -> None:
    """Compare the header of an archive with the expected one.

    Labels may have any integer type, since more than 256 classes need more than one byte per label.
    """
    if len(expected.shape) == len(found.shape) == 1 and found.dtype.kind in "iu":
        expected = expected._replace(dtype=found.dtype)
    differences = (
        ("elements of type", found.dtype.name, expected.dtype.name),
        ("rank", len(found.shape), len(expected.shape)),
        ("count", f"{found.shape[0] if found.shape else 0:,}", f"{expected.shape[0]:,}"),
        ("shape", found.shape[1:], expected.shape[1:]),
    )
    for what, has, wants in differences:
        if has != wants:
            raise ContentError(
                f"{what} {has}, not {wants}: the file holds {describe_header(found)}, not {describe_header(expected)}"
            )
