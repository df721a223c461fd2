"""Splits as Parquet: one row an image, read back bit for bit.

Columns: `index` (int32), `image` (fixed-size binary, rows x columns bytes), `label` (uint8) and `sha256` of the image's
bytes (fixed-size binary, 32 bytes), by which an image keeps its identity across runs and splits. The shape, the class names
and the archives' hashes stand in the file's own metadata.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.files import writable
from tasks.records import Frozen

ROWS = 4096  # a row group: 3 MB of MNIST, small enough to stream, large enough to compress
META_KEY = b"mnist.split"

Writer = Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]


class SplitMeta(Frozen):
    """What a split's file says of itself: `shape` is (rows, columns), `archives` the SHA-256 of images and labels."""

    name: str
    dataset: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    archives: tuple[str, str]


class Split(Frozen, arbitrary_types_allowed=True):
    """A split in memory: `images` (N, rows, columns) uint8, `labels` (N,) uint8, `sha256` N hashes of 32 bytes."""

    meta: SplitMeta
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    sha256: tuple[bytes, ...]


def schema_of(meta: SplitMeta) -> pa.Schema:
    """The Parquet schema of a split."""
    return pa.schema(
        [
            pa.field("index", pa.int32(), nullable=False),
            pa.field("image", pa.binary(math.prod(meta.shape)), nullable=False),
            pa.field("label", pa.uint8(), nullable=False),
            pa.field("sha256", pa.binary(32), nullable=False),
        ],
        metadata={META_KEY: meta.model_dump_json()},
    )


@contextmanager
def split_writer(path: Path, meta: SplitMeta) -> Iterator[Writer]:
    """A function that appends a block of images, (n, rows, columns) uint8, with labels, (n,) uint8, as one row group.

    Raises:
        StorageError: the file can't be written.
    """
    schema = schema_of(meta)
    written = 0

    with writable(path), pq.ParquetWriter(path, schema, compression="zstd") as parquet:

        def write(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
            nonlocal written
            size = math.prod(meta.shape)
            pixels = np.ascontiguousarray(images).tobytes()
            rows = [pixels[start : start + size] for start in range(0, len(pixels), size)]
            columns = [
                pa.array(range(written, written + len(rows)), pa.int32()),
                pa.array(rows, pa.binary(size)),
                pa.array(labels, pa.uint8()),
                pa.array([hashlib.sha256(row).digest() for row in rows], pa.binary(32)),
            ]
            parquet.write_table(pa.table(columns, schema=schema), row_group_size=len(rows))
            written += len(rows)

        yield write


def read_split(path: Path) -> Split:
    """Read a split back.

    Raises:
        OSError: it can't be read.
    """
    table = pq.read_table(path)
    meta = SplitMeta.model_validate_json(table.schema.metadata[META_KEY])
    images = np.frombuffer(b"".join(table["image"].to_pylist()), np.uint8)
    return Split(
        meta=meta,
        images=images.reshape(-1, *meta.shape),
        labels=table["label"].to_numpy(),
        sha256=tuple(table["sha256"].to_pylist()),
    )
