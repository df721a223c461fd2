import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tasks.data import split_parquet as splits
from tasks.data.predictions_parquet import PredictionsMeta, predictions_of, read_predictions
from tasks.data.split_parquet import HASH, Split, SplitMeta, SplitWriter, read_images, read_index, read_split
from tests.support.written import write_predictions

SHAPES = st.tuples(st.integers(1, 30), st.integers(1, 6), st.integers(1, 6))
IMAGES = SHAPES.flatmap(lambda shape: arrays.arrays(np.uint8, shape))


def written(folder: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], rows: int) -> list[Path]:
    classes = tuple("abcde")
    meta = SplitMeta(name="train", dataset="drawn", shape=images.shape[1:], classes=classes, archives=("a", "b"))
    with SplitWriter(Path(folder), meta) as writer:
        for start in range(0, len(images), rows):
            writer.write(images[start : start + rows], labels[start : start + rows])
    return writer.paths


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.integers(1, 8), st.integers(1, 600))
def test_every_split_comes_back_bit_for_bit_from_as_many_files_as_it_takes(
    images: NDArray[np.uint8], rows: int, part_bytes: int
) -> None:
    labels = (np.arange(len(images)) % 5).astype(np.uint8)
    some = sorted({0, len(images) // 2, len(images) - 1})
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "_PART_BYTES", part_bytes)
        paths = written(folder, images, labels, rows)
        found, marks, shown = read_split(paths), read_index(paths), read_images(paths, some)
    if images.nbytes > part_bytes and len(images) > rows:
        assert len(paths) > 1
    np.testing.assert_array_equal(found.images, images)
    for one in (found, marks):
        np.testing.assert_array_equal(one.labels, labels)
        np.testing.assert_array_equal(one.indices, np.arange(len(images)))
        assert [one_.tobytes() for one_ in one.sha256] == [hashlib.sha256(image.data).digest() for image in images]
    assert list(shown) == some
    for place, image in shown.items():
        np.testing.assert_array_equal(image, images[place])


def test_a_split_can_be_streamed_by_row_group() -> None:
    with TemporaryDirectory() as folder:
        (path,) = written(folder, np.zeros((10, 2, 2), np.uint8), np.zeros(10, np.uint8), rows=4)
        parquet = pq.ParquetFile(path)
        assert parquet.num_row_groups == 3
        assert parquet.read()["index"].to_pylist() == list(range(10))


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(0, 1, width=32)))
def test_predictions_come_back_bit_for_bit(probabilities: NDArray[np.float32]) -> None:
    count = len(probabilities)
    meta = SplitMeta(name="test", dataset="drawn", shape=(1, 1), classes=("a", "b"), archives=("a", "b"))
    digests = np.arange(32 * count, dtype=np.uint8).view(HASH)
    labels = np.zeros(count, np.uint8)
    split = Split(meta=meta, images=np.zeros((count, 1, 1), np.uint8), labels=labels, sha256=digests,
                  indices=np.arange(count, dtype=np.int32))  # fmt: skip
    given_ = predictions_of(split, probabilities, PredictionsMeta(model="m", model_sha256="x"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.parquet"
        write_predictions(path, given_)
        found = read_predictions(path)
    np.testing.assert_array_equal(found.probabilities, probabilities)
    np.testing.assert_array_equal(found.predicted, probabilities.argmax(axis=1))
    assert found.meta == given_.meta
    np.testing.assert_array_equal(found.sha256, given_.sha256)
