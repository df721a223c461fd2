"""Decode: the two archives of a split into one Parquet file.

In: the archives' records and what the data set expects of them. Out: a SplitRecord.
Refuses: what is no whole gzip or IDX file, and what is one but of another type, rank, shape, count or label than expected.
Memory is flat in the number of images: a header is checked before what it promises is read.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from gzip import BadGzipFile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
from isal import igzip, isal_zlib  # unpacks in two fifths of zlib's time
from numpy.typing import NDArray

from tasks.dataset import Dataset
from tasks.dataset import Split as Expected
from tasks.errors import ArchiveError, ContentError, DecodeError
from tasks.files import adopt, verified
from tasks.idx import Header, described, read_blocks, read_header
from tasks.records import ArchiveRecord, SplitRecord
from tasks.split import SplitMeta, rows_of, split_writer
from tasks.step import step
from tasks.workspace import Workspace

BYTE = np.dtype(np.uint8)
BROKEN = (EOFError, BadGzipFile, cast("type[Exception]", isal_zlib.error))  # whose stub calls it an instance

Item = TypeVar("Item")


@step("decode {name}", libraries=("isal", "numpy", "pyarrow"))
def decode(dataset: Dataset, name: str, images: ArchiveRecord, labels: ArchiveRecord, work: Workspace) -> SplitRecord:
    """Decode one split; `name` is "train" or "test".

    Raises:
        DecodeError: an archive does not hold what it should.
        StorageError: an archive was altered, or the Parquet file can't be written.
    """
    expected: Expected = getattr(dataset, name)
    meta = SplitMeta(
        name=name,
        dataset=dataset.name,
        shape=dataset.shape,
        classes=dataset.classes,
        archives=(images.file.sha256, labels.file.sha256),
    )
    image_path, label_path = verified(work.root, images.file), verified(work.root, labels.file)
    pixels_digest = hashlib.sha256()
    with work.scratch() as scratch:
        path = scratch / f"{name}.parquet"
        with split_writer(path, meta) as write:
            for pixels, classes in pairs(image_path, label_path, dataset, expected):
                pixels_digest.update(pixels.data)
                write(pixels, classes)
        return SplitRecord(
            name=name,
            file=adopt(work.root, "splits", name, ".parquet", path),
            count=expected.count,
            shape=dataset.shape,
            classes=dataset.classes,
            pixels_sha256=pixels_digest.hexdigest(),
            archives=meta.archives,
        )


def pairs(
    image_path: Path, label_path: Path, dataset: Dataset, expected: Expected
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Blocks of images, (n, rows, columns) uint8, with their labels, (n,) uint8.

    Raises:
        DecodeError: an archive does not hold what it should.
    """
    rows = rows_of(dataset.shape)
    images = ahead(blocks(image_path, expected.images.name, Header(BYTE, (expected.count, *dataset.shape)), rows))
    labels = blocks(label_path, expected.labels.name, Header(BYTE, (expected.count,)), rows)
    start = 0
    for pixels, classes in zip(images, labels, strict=True):
        bad = np.flatnonzero(classes >= len(dataset.classes))
        if bad.size:
            raise ContentError(
                f"{expected.labels.name}: label {classes[bad[0]]} at index {start + bad[0]:,}, "
                f"but {dataset.title} has labels 0 to {len(dataset.classes) - 1}"
            )
        start += len(classes)
        yield pixels, classes


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in another thread while the one before is used: unpacking takes as long as writing."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def blocks(path: Path, name: str, expected: Header, rows: int) -> Iterator[NDArray[Any]]:
    """The blocks of one archive, of `rows` items each, after its header has been found to be the expected one.

    Raises:
        ArchiveError: it is not a whole gzip file.
        IdxFormatError: it holds no whole IDX file.
        ContentError: its header is another than expected.
    """
    try:
        with igzip.open(path, "rb") as unpacked:  # type: ignore[no-untyped-call]
            stream = cast("BinaryIO", unpacked)
            check(read_header(stream), expected)
            yield from read_blocks(stream, expected, rows)
    except DecodeError as error:
        raise type(error)(f"{name}: {error}") from error
    except BROKEN as error:
        raise ArchiveError(f"{name}: not a whole gzip file: {error}") from error


def check(found: Header, expected: Header) -> None:
    """Compare two headers.

    Raises:
        ContentError: they differ; the message names the first difference and both values.
    """
    differences = (
        ("elements of type", found.dtype.name, expected.dtype.name),
        ("rank", len(found.shape), len(expected.shape)),
        ("count", f"{found.shape[0] if found.shape else 0:,}", f"{expected.shape[0]:,}"),
        ("shape", found.shape[1:], expected.shape[1:]),
    )
    for what, has, wants in differences:
        if has != wants:
            raise ContentError(f"{what} {has}, not {wants}: it holds {described(found)}, not {described(expected)}")
