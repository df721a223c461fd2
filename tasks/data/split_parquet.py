"""Store splits as Parquet: one row per image, read back bit for bit.

Columns: `index` (int32), `image` (fixed-size binary, rows x columns bytes, times 3 in color), `label` (uint8, or uint16
for more than 256 classes) and `sha256` of the image's bytes (fixed-size binary, 32 bytes), which identifies an image
across runs and splits. The file metadata holds the shape, the class names and the archives' hashes.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.base import Frozen
from tasks.data.prefetch import in_input_order
from tasks.engine.workspace import Scratch
from tasks.errors import StorageError, first_line
from tasks.storage.backend import storage_errors

_ROWS = 4096  # per row group, at most: 3 MB of MNIST, small enough to stream, large enough to compress
_GROUP_BYTES = 16 << 20  # of pixels per row group, at most
_PART_BYTES = 512 << 20  # of pixels per file, at most: MNIST is one file, six million such images are nine files
_META_KEY = b"mnist.split"

ARRAYS = ("labels", "sha256", "indices", "images")  # fields of a Split
HASH = np.dtype("V32")  # not S32, which drops trailing zero bytes

Labels = NDArray[np.uint8] | NDArray[np.uint16]
Hashes = NDArray[np.void]


class SplitMeta(Frozen):
    """Metadata in the file of a split.

    `shape` is (rows, columns) or (rows, columns, 3), `archives` the SHA-256 of the images' and the labels' archive.
    """

    name: str
    dataset: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    archives: tuple[str, str]


class SplitIndex(Frozen, arbitrary_types_allowed=True):
    """All columns of a split except the pixels.

    `labels` (N,); `sha256` (N,) of 32 bytes each; `indices` (N,), the positions in the whole split: a sample has gaps.
    """

    meta: SplitMeta
    labels: Labels
    sha256: Hashes
    indices: NDArray[np.int32]


class Split(SplitIndex):
    """Split in memory, with its `images`, (N, rows, columns[, 3]) uint8."""

    images: NDArray[np.uint8]


def label_type(classes: int) -> "np.dtype[np.uint8] | np.dtype[np.uint16]":
    """Return the smallest type for a column of labels with this number of classes."""
    return np.dtype(np.uint8) if classes <= 256 else np.dtype(np.uint16)


def _schema_of(meta: SplitMeta) -> pa.Schema:
    return pa.schema(
        [
            pa.field("index", pa.int32(), nullable=False),
            pa.field("image", pa.binary(math.prod(meta.shape)), nullable=False),
            pa.field("label", pa.from_numpy_dtype(label_type(len(meta.classes))), nullable=False),
            pa.field("sha256", pa.binary(32), nullable=False),
        ],
        metadata={_META_KEY: meta.model_dump_json()},
    )


def rows_of(shape: tuple[int, ...]) -> int:
    """Return the number of images of a shape in a row group."""
    return max(1, min(_ROWS, _GROUP_BYTES // math.prod(shape)))


class SplitWriter:
    """Writer of a split to a folder or to temporary files: one row group per block, in as many files as needed."""

    def __init__(self, folder: Path | Scratch, meta: SplitMeta) -> None:
        self.folder, self.meta, self.schema = folder, meta, _schema_of(meta)
        self.size = math.prod(meta.shape)
        self.paths: list[Path] = []
        self.written = self.in_part = 0
        self.parquet: Any = None

    def __enter__(self) -> "SplitWriter":
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """Start a new file."""
        path = self.folder / f"{len(self.paths):05}.parquet"
        with storage_errors(path):
            # Images and hashes do not repeat, and hashes do not compress: trying takes longer than all other work.
            self.parquet = pq.ParquetWriter(
                path,
                self.schema,
                compression={"index": "zstd", "image": "zstd", "label": "zstd", "sha256": "none"},
                use_dictionary=["label"],
                write_statistics=["index", "label"],
            )
        self.paths.append(path)
        self.in_part = 0

    def end(self) -> None:
        """Close the current file."""
        with storage_errors(self.paths[-1]):
            self.parquet.close()

    def write(self, images: NDArray[np.uint8], labels: Labels, indices: NDArray[np.int32] | None = None) -> None:
        """Append a block of images, (n, *shape) uint8, with their labels, (n,), and positions, by default consecutive.

        Raises:
            StorageError: If the file cannot be written.
        """
        count = len(labels)
        if self.in_part and (self.in_part + count) * self.size > _PART_BYTES:
            self.end()
            self.begin()
        pixels = np.ascontiguousarray(images).reshape(count, self.size)
        hashes = b"".join(hashlib.sha256(image.data).digest() for image in pixels)
        following = np.arange(self.written, self.written + count, dtype=np.int32)
        columns = [
            pa.array(following if indices is None else indices),
            fixed_size(pixels, self.size),
            pa.array(labels, self.schema.field("label").type),
            fixed_size(hashes, 32),
        ]
        with storage_errors(self.paths[-1]):
            self.parquet.write_table(pa.table(columns, schema=self.schema), row_group_size=max(1, count))
        self.written += count
        self.in_part += count


def fixed_size(values: Any, size: int) -> pa.Array:
    """Return consecutive bytes as a column of values of `size` bytes each, without copying them."""
    buffer = pa.py_buffer(values)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), buffer.size // size, [None, buffer])


def read_split(paths: Sequence[Path]) -> Split:
    """Read a whole split into memory.

    Raises:
        StorageError: If a file is missing, or was altered after its verification.
    """
    return join_splits(read_groups(paths), sum(group.rows for group in groups_of(paths)))


def join_splits(blocks: Iterable[Split], count: int) -> Split:
    """Join blocks of a split, `count` images in total, with no more in memory than the result and one block."""
    arrays: dict[str, Any] = {}
    end = 0
    for block in blocks:
        start, end = end, end + len(block.labels)
        for name in ARRAYS:
            part = getattr(block, name)
            arrays.setdefault(name, np.empty((count, *part.shape[1:]), part.dtype))[start:end] = part
        meta = block.meta
    return Split(meta=meta, **arrays)


def read_index(paths: Sequence[Path]) -> SplitIndex:
    """Read all columns of a split except the pixels.

    Raises:
        StorageError: If a file is missing, or was altered after its verification.
    """
    with read_errors(paths[0]):
        tables = [pq.read_table(path, columns=["index", "label", "sha256"]) for path in paths]
    return SplitIndex(
        meta=_meta_of(tables[0].schema),
        labels=np.concatenate([table["label"].to_numpy() for table in tables]),
        sha256=np.concatenate([hashes_of(table["sha256"]) for table in tables]),
        indices=np.concatenate([table["index"].to_numpy() for table in tables]),
    )


def read_images(paths: Sequence[Path], places: Sequence[int] | NDArray[np.intp]) -> dict[int, NDArray[np.uint8]]:
    """Return the images at some positions of a split, by position.

    Raises:
        StorageError: If a file is missing, or was altered after its verification.
    """
    groups = groups_of(paths)
    ends = np.cumsum([group.rows for group in groups])
    wanted = np.unique(np.asarray(places, np.intp))
    numbers = np.searchsorted(ends, wanted, side="right")
    found: dict[int, NDArray[np.uint8]] = {}
    needed = np.unique(numbers).tolist()
    for number, block in zip(needed, read_groups(paths, needed), strict=True):
        start = int(ends[number]) - len(block.labels)
        found |= {place: block.images[place - start].copy() for place in wanted[numbers == number].tolist()}
    return found


class RowGroup(NamedTuple):
    """Row group of a Parquet file: the file, the number within the file, and the number of images."""

    path: Path
    number: int
    rows: int


def groups_of(paths: Sequence[Path]) -> list[RowGroup]:
    """Return all row groups of a split, in order.

    Raises:
        StorageError: If a file is missing, or was altered after its verification.
    """
    found: list[RowGroup] = []
    for path in paths:
        with read_errors(path):
            metadata = pq.read_metadata(path)
        found += [
            RowGroup(path, number, metadata.row_group(number).num_rows) for number in range(metadata.num_row_groups)
        ]
    return found


def read_groups(paths: Sequence[Path], numbers: Sequence[int] | None = None) -> Iterator[Split]:
    """Read the row groups of a split in order, all of them or those with these numbers.

    Other threads read the following row groups in the meantime.

    Raises:
        StorageError: If a file is missing, or was altered after its verification.
    """
    groups = groups_of(paths)
    return in_input_order(_read_group, groups if numbers is None else [groups[number] for number in numbers])


def _read_group(group: RowGroup) -> Split:
    with read_errors(group.path), pq.ParquetFile(group.path) as parquet:
        table = parquet.read_row_group(group.number)
    meta = _meta_of(table.schema)
    return Split(
        meta=meta,
        images=_bytes_of(table["image"]).reshape(-1, *meta.shape),
        labels=table["label"].to_numpy(),
        sha256=hashes_of(table["sha256"]),
        indices=table["index"].to_numpy(),
    )


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Translate the errors of reading a verified file into an error of one line.

    Raises:
        StorageError: If the file is missing or was altered.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} can no longer be read: {first_line(error)}; run again to recreate it") from error


def _meta_of(schema: pa.Schema) -> SplitMeta:
    return SplitMeta.model_validate_json(schema.metadata[_META_KEY])


def hashes_of(column: pa.ChunkedArray) -> Hashes:
    """Return a column of hashes as an array, (N,)."""
    return _bytes_of(column).view(HASH)


def _bytes_of(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return the values of a fixed-size column as consecutive bytes."""
    values = column.combine_chunks()
    size = values.type.byte_width
    return np.frombuffer(values.buffers()[1], np.uint8, len(values) * size, values.offset * size)
