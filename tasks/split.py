"""Splits as Parquet: one row an image, read back bit for bit.

Columns: `index` (int32), `image` (fixed-size binary, rows x columns bytes, times 3 in colour), `label` (uint8; uint16 where
there are more than 256 classes) and `sha256` of the image's bytes (fixed-size binary, 32 bytes), by which an image keeps its
identity across runs and splits. The shape, the class names and the archives' hashes stand in the file's own metadata.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import StorageError, first_line
from tasks.files import writable
from tasks.records import Frozen

ROWS = 4096  # of a row group, at most: 3 MB of MNIST, small enough to stream, large enough to compress
GROUP_BYTES = 16 << 20  # of the pixels of a row group, at most
META_KEY = b"mnist.split"

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Writer = Callable[[NDArray[np.uint8], Labels], None]


class SplitMeta(Frozen):
    """What a split's file says of itself.

    `shape` is (rows, columns) or (rows, columns, 3), `archives` the SHA-256 of images and labels.
    """

    name: str
    dataset: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    archives: tuple[str, str]


class Split(Frozen, arbitrary_types_allowed=True):
    """A split in memory: `images` (N, rows, columns[, 3]) uint8, `labels` (N,), `sha256` N hashes of 32 bytes."""

    meta: SplitMeta
    images: NDArray[np.uint8]
    labels: Labels
    sha256: tuple[bytes, ...]


def label_type(classes: int) -> "np.dtype[np.uint8] | np.dtype[np.uint16]":
    """The type of a column of labels: as small as the number of classes lets it be."""
    return np.dtype(np.uint8) if classes <= 256 else np.dtype(np.uint16)


def schema_of(meta: SplitMeta) -> pa.Schema:
    """The Parquet schema of a split."""
    return pa.schema(
        [
            pa.field("index", pa.int32(), nullable=False),
            pa.field("image", pa.binary(math.prod(meta.shape)), nullable=False),
            pa.field("label", pa.from_numpy_dtype(label_type(len(meta.classes))), nullable=False),
            pa.field("sha256", pa.binary(32), nullable=False),
        ],
        metadata={META_KEY: meta.model_dump_json()},
    )


def rows_of(shape: tuple[int, ...]) -> int:
    """How many images of a shape make a row group."""
    return max(1, min(ROWS, GROUP_BYTES // math.prod(shape)))


@contextmanager
def split_writer(path: Path, meta: SplitMeta) -> Iterator[Writer]:
    """A function that appends a block of images, (n, *shape) uint8, with labels, (n,), as one row group.

    Raises:
        StorageError: the file can't be written.
    """
    schema = schema_of(meta)
    size = math.prod(meta.shape)
    written = 0
    # Neither images nor hashes repeat, and hashes don't shrink: to look for it would take longer than all else.
    parquet_options = {
        "compression": {"index": "zstd", "image": "zstd", "label": "zstd", "sha256": "none"},
        "use_dictionary": ["label"],
        "write_statistics": ["index", "label"],
    }

    with writable(path), pq.ParquetWriter(path, schema, **parquet_options) as parquet:

        def write(images: NDArray[np.uint8], labels: Labels) -> None:
            nonlocal written
            count = len(labels)
            pixels = np.ascontiguousarray(images).reshape(count, size)
            hashes = b"".join(hashlib.sha256(image.data).digest() for image in pixels)
            columns = [
                pa.array(np.arange(written, written + count, dtype=np.int32)),
                fixed_size(pixels, size),
                pa.array(labels, schema.field("label").type),
                fixed_size(hashes, 32),
            ]
            parquet.write_table(pa.table(columns, schema=schema), row_group_size=count)
            written += count

        yield write


def fixed_size(values: Any, size: int) -> pa.Array:
    """Bytes, one value after the other, as a column of values of `size` bytes; they are not copied."""
    buffer = pa.py_buffer(values)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), buffer.size // size, [None, buffer])


def read_split(path: Path) -> Split:
    """Read a split back, whole.

    Raises:
        OSError: it can't be read.
    """
    return split_of(pq.read_table(path))


def read_groups(path: Path, groups: Sequence[int] | None = None) -> Iterator[Split]:
    """Read a split back, one row group after the other; all, or those with these numbers.

    Raises:
        StorageError: it has gone, or was altered since it was verified.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            for group in range(parquet.num_row_groups) if groups is None else groups:
                yield split_of(parquet.read_row_group(group))
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} can't be read any more: {first_line(error)}; run again to make it anew") from error


def split_of(table: pa.Table) -> Split:
    """A split, or a part of it, from its columns."""
    meta = SplitMeta.model_validate_json(table.schema.metadata[META_KEY])
    return Split(
        meta=meta,
        images=bytes_of(table["image"]).reshape(-1, *meta.shape),
        labels=table["label"].to_numpy(),
        sha256=tuple(table["sha256"].to_pylist()),
    )


def bytes_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """The values of a column of fixed size, one after the other."""
    values = column.combine_chunks()
    size = values.type.byte_width
    return np.frombuffer(values.buffers()[1], np.uint8, len(values) * size, values.offset * size)
