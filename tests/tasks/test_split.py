from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tasks.predictions import PredictionsMeta, predictions_of, read_predictions, write_predictions
from tasks.split import Split, SplitMeta, read_split, split_writer

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6))
IMAGES = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))


def written(folder: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], rows: int) -> Path:
    path = Path(folder) / "split.parquet"
    classes = tuple("abcde")
    meta = SplitMeta(name="train", dataset="drawn", shape=images.shape[1:], classes=classes, archives=("a", "b"))
    with split_writer(path, meta) as write:
        for start in range(0, len(images), rows):
            write(images[start : start + rows], labels[start : start + rows])
    return path


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.integers(1, 8))
def test_every_split_comes_back_bit_for_bit(images: NDArray[np.uint8], rows: int) -> None:
    labels = (np.arange(len(images)) % 5).astype(np.uint8)
    with TemporaryDirectory() as folder:
        found = read_split(written(folder, images, labels, rows))
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


def test_a_split_can_be_streamed_by_row_group() -> None:
    with TemporaryDirectory() as folder:
        parquet = pq.ParquetFile(written(folder, np.zeros((10, 2, 2), np.uint8), np.zeros(10, np.uint8), rows=4))
        assert parquet.num_row_groups == 3
        assert parquet.read()["index"].to_pylist() == list(range(10))


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(0, 1, width=32)))
def test_predictions_come_back_bit_for_bit(probabilities: NDArray[np.float32]) -> None:
    count = len(probabilities)
    meta = SplitMeta(name="test", dataset="drawn", shape=(1, 1), classes=("a", "b"), archives=("a", "b"))
    digests = tuple(bytes([index]) * 32 for index in range(count))
    labels = np.zeros(count, np.uint8)
    split = Split(meta=meta, images=np.zeros((count, 1, 1), np.uint8), labels=labels, sha256=digests)
    given_ = predictions_of(split, probabilities, PredictionsMeta(model="m", model_sha256="x"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        write_predictions(path, given_)
        found = read_predictions(path)
    np.testing.assert_array_equal(found.probabilities, probabilities)
    np.testing.assert_array_equal(found.predicted, probabilities.argmax(axis=1))
    assert (found.meta, found.sha256) == (given_.meta, given_.sha256)
