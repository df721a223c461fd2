"""Store predictions as Parquet: one row per image, with the probability of every class.

Columns: `index` (int32), `sha256` (fixed-size binary, 32 bytes), `label` and `predicted` (uint8, or uint16 for more
than 256 classes), and `probability` (fixed-size list of K float32). The file metadata holds the name and the hash of
the model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.base import Frozen
from tasks.data.split_parquet import Hashes, Labels, SplitIndex, fixed_size, hashes_of, label_type, read_errors
from tasks.storage.backend import storage_errors

META_KEY = b"mnist.predictions"
_ARRAYS = ("labels", "predicted", "probabilities", "sha256")
_SMALLEST = 1e-7  # Keras's epsilon: a label probability of 0 would make the loss infinite
LARGEST_LOSS = -math.log(_SMALLEST)


class PredictionsMeta(Frozen):
    """Name of the model that made the predictions, and the SHA-256 of its file."""

    model: str
    model_sha256: str


class Predictions(Frozen, arbitrary_types_allowed=True):
    """Predictions in memory: `labels` and `predicted` (N,), `probabilities` (N, K) float32, `sha256` (N,)."""

    meta: PredictionsMeta
    labels: Labels
    predicted: Labels
    probabilities: NDArray[np.float32]
    sha256: Hashes

    def take(self, places: NDArray[np.intp]) -> "Predictions":
        """Return the predictions for the images at `places`, in that order."""
        return self.model_copy(update={name: getattr(self, name)[places] for name in _ARRAYS})

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Mask of the misclassified images: (N,) bool."""
        return np.not_equal(self.predicted, self.labels)

    @property
    def accuracy(self) -> float:
        """Fraction of images that are classified correctly."""
        return float(1 - self.wrong.mean())

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of each predicted class: (N,) float64."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    @property
    def losses(self) -> NDArray[np.float64]:
        """Cross-entropy of each image in nats, with probabilities clipped as in Keras: (N,) float64."""
        of_label = self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)
        return np.asarray(-np.log(of_label.clip(_SMALLEST, 1 - _SMALLEST)))


def predictions_of(split: SplitIndex, probabilities: NDArray[np.float32], meta: PredictionsMeta) -> Predictions:
    """Return predictions from probabilities of shape (N, K), in the order of the split.

    Of classes with equal probability, the lowest label is predicted.
    """
    return Predictions(
        meta=meta,
        labels=split.labels,
        predicted=probabilities.argmax(axis=1).astype(label_type(probabilities.shape[1])),
        probabilities=probabilities,
        sha256=split.sha256,
    )


@contextmanager
def predictions_writer(path: Path, meta: PredictionsMeta, classes: int) -> Iterator[Callable[[Predictions], None]]:
    """Open a Parquet file, and yield a function that appends the predictions for a block as one row group.

    Raises:
        StorageError: If the file cannot be written.
    """
    label = pa.from_numpy_dtype(label_type(classes))
    schema = pa.schema(
        {
            "index": pa.int32(),
            "sha256": pa.binary(32),
            "label": label,
            "predicted": label,
            "probability": pa.list_(pa.float32(), classes),
        },
        metadata={META_KEY: meta.model_dump_json()},
    )
    written = 0

    with storage_errors(path), pq.ParquetWriter(path, schema, compression="zstd") as parquet:

        def write(block: Predictions) -> None:
            nonlocal written
            count = len(block.labels)
            values = pa.array(np.ascontiguousarray(block.probabilities).reshape(-1), pa.float32())
            columns = [
                pa.array(np.arange(written, written + count, dtype=np.int32)),
                fixed_size(block.sha256, 32),
                pa.array(block.labels, label),
                pa.array(block.predicted, label),
                pa.FixedSizeListArray.from_arrays(values, classes),
            ]
            parquet.write_table(pa.table(columns, schema=schema), row_group_size=max(1, count))
            written += count

        yield write


def read_predictions(path: Path, places: NDArray[np.intp] | None = None) -> Predictions:
    """Read predictions from a file.

    Args:
        path: Parquet file of the predictions.
        places: Positions to read, in ascending order, for files that may not fit into memory; None reads the whole
            file.

    Raises:
        StorageError: If the file cannot be read.
    """
    with read_errors(path), pq.ParquetFile(path) as parquet:
        if places is None:
            return _predictions_from_table(parquet.read())
        found, start = [], 0
        for number in range(parquet.num_row_groups):
            table = parquet.read_row_group(number)
            first, last = np.searchsorted(places, (start, start + table.num_rows))
            found.append(_predictions_from_table(table).take(places[first:last] - start))
            start += table.num_rows
    return Predictions(
        meta=found[0].meta,
        **{name: np.concatenate([getattr(one, name) for one in found]) for name in _ARRAYS},
    )


def _predictions_from_table(table: pa.Table) -> Predictions:
    flat = table["probability"].combine_chunks().flatten().to_numpy()
    return Predictions(
        meta=PredictionsMeta.model_validate_json(table.schema.metadata[META_KEY]),
        labels=table["label"].to_numpy(),
        predicted=table["predicted"].to_numpy(),
        probabilities=flat.reshape(table.num_rows, -1),
        sha256=hashes_of(table["sha256"]),
    )
