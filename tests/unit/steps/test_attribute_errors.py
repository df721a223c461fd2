"""Test attribution with a real network on tiny real data: training predictions, and the neighbors of its errors."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.analysis.neighbors import NEAREST, Nearest, nearest_distance_percentile
from tasks.config.recipe import load_recipe
from tasks.data.batching import held_out_indices
from tasks.data.predictions_parquet import read_predictions
from tasks.data.split_parquet import Split, SplitMeta, read_split
from tasks.engine.workspace import Workspace
from tasks.schemas.doubt import DoubtLimits
from tasks.schemas.findings import Attribution
from tasks.schemas.records import AttributionRecord, ModelRecord, SplitRecord
from tasks.steps.attribute_errors import _LimitsSample, attribute
from tasks.steps.evaluate import evaluate
from tasks.steps.train import train
from tasks.storage.content_files import read_document
from tests.conftest import single_threaded
from tests.support.samples import hashes

Attributed = tuple[ModelRecord, AttributionRecord, Attribution]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def attributed(shared_splits: dict[str, SplitRecord], shared_work: Workspace) -> Attributed:
    training = load_recipe("post", epochs=3, validation=0.1).trainings()[0]
    with single_threaded():
        model = train.fn(training, shared_splits["train"], shared_work)
        predictions = evaluate.fn(model, shared_splits["test"], shared_work)
        record = attribute.fn(model, predictions, shared_splits["train"], shared_splits["test"], shared_work)
    found = Attribution.model_validate_json((shared_work.root / record.neighbors.path).read_bytes())
    wrong = read_predictions(shared_work.root / predictions.file.path).wrong
    assert list(found.by_index) == np.flatnonzero(wrong).tolist()
    return model, record, found


def test_predictions_for_the_training_split_equal_those_of_evaluate(
    attributed: Attributed, shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    model, record, _ = attributed
    expected = evaluate.fn(model, shared_splits["train"], shared_work)
    assert (record.split, record.count, record.errors) == ("train", 600, expected.errors)
    assert record.loss == pytest.approx(expected.loss, abs=1e-6)
    given, asked = (read_predictions(shared_work.root / one.file.path) for one in (record, expected))
    np.testing.assert_allclose(given.probabilities, asked.probabilities, atol=1e-5)


def test_neighbors_are_the_nearest_images_that_the_model_was_trained_on(
    attributed: Attributed, shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    import keras

    from tasks.training.ensemble_model import last_features

    model, _, found = attributed
    learned, asked = (read_split([shared_work.root / shared_splits[name].file.path]) for name in ("train", "test"))
    kept, held_out = held_out_indices(600, model.held_out, model.seed)
    assert len(held_out) == 60
    features = last_features(keras.models.load_model(shared_work.root / model.file.path, compile=False))
    known = features.predict(learned.images[kept], verbose=0)
    for index, one in found.by_index.items():
        far = np.linalg.norm(known - features.predict(asked.images[index][None], verbose=0), axis=1)
        assert [near.distance for near in one.neighbors] == pytest.approx(np.sort(far)[:NEAREST].tolist(), rel=1e-3)
        assert far[np.searchsorted(kept, one.neighbors[0].index)] == pytest.approx(far.min(), rel=1e-3)
        assert all(near.label == learned.labels[near.index] for near in one.neighbors)


def test_nearest_neighbors_do_not_depend_on_the_block_size() -> None:
    draws = np.random.default_rng(0)
    learned, asked = (draws.normal(size=(count, 8)).astype(np.float32) for count in (100, 7))
    whole = Nearest(asked)
    whole.see(learned)
    parts = Nearest(asked)
    for part in np.split(learned, [3, 3, 40]):
        parts.see(part)
    expected = np.linalg.norm(asked[:, None] - learned, axis=2)
    np.testing.assert_array_equal(whole.places, expected.argsort(axis=1)[:, :NEAREST])
    np.testing.assert_array_equal(parts.places, whole.places)
    np.testing.assert_allclose(parts.distances, np.sort(expected, axis=1)[:, :NEAREST], rtol=1e-5)


def test_the_nearest_of_few_are_all_of_them() -> None:
    nearest = Nearest(np.array([[0.0, 0.0]], np.float32))
    nearest.see(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]], np.float32))
    assert nearest.places.tolist() == [[0, 2, 1]]
    assert nearest.distances.tolist() == [[0, 1, 5]]


def test_the_percentile_of_a_nearest_distance_is_the_share_that_is_smaller() -> None:
    assert nearest_distance_percentile(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])) == [0, 0.25, 1]
    assert nearest_distance_percentile(np.array([0.0, 2.0]), np.array([])) == [None, None]


class FewImages:
    """A training split of images whose features and predictions are their index, and its sample for the limits."""

    def __init__(self, count: int, held_out: int, units: int = 2) -> None:
        kept = np.arange(count) >= held_out
        meta = SplitMeta(name="train", dataset="d", shape=(1, 1), classes=("a", "b"), archives=("a", "b"))
        self.split = Split(
            meta=meta, images=np.zeros((count, 1, 1), np.uint8), labels=np.arange(count, dtype=np.uint8) % 2,
            sha256=hashes(index % 250 for index in range(count)), indices=np.arange(count, dtype=np.int32),
        )  # fmt: skip
        self.sample = _LimitsSample(kept, self.split.indices, units)
        self.asked_test = 0

    def limits(self, work: Workspace, test: int) -> DoubtLimits | None:
        """Show the sample all images, and return its limits; without held-out images, from some test images."""
        outputs = np.stack(
            [self.split.indices, np.ones_like(self.split.indices), self.split.labels, 1 - self.split.labels]
        )
        self.sample.see(self.split, outputs.T.astype(np.float32))

        def predict_test() -> NDArray[np.float32]:
            self.asked_test += 1
            return np.resize(outputs.T, (test, 4)).astype(np.float32)

        files = self.sample.write("plain", predict_test, work)
        return read_document(work.root, files["limits"], DoubtLimits) if files else None


def test_limits_are_chosen_on_held_out_images_if_there_are_enough(work: Workspace) -> None:
    images = FewImages(1000, held_out=300)
    limits = images.limits(work, test=400)
    assert limits
    assert (limits.labeled, limits.chosen_on, limits.reference) == (True, 150, 700)
    assert images.asked_test == 0


def test_limits_of_a_run_that_held_out_too_few_images_are_chosen_on_test_images_without_labels(work: Workspace) -> None:
    limits = FewImages(1000, held_out=199).limits(work, test=400)
    assert limits
    assert (limits.labeled, limits.temperature, limits.chosen_on, limits.reference) == (False, None, 200, 801)


def test_no_limits_are_chosen_on_few_images(work: Workspace) -> None:
    assert FewImages(1000, held_out=0).limits(work, test=199) is None


def test_an_image_is_never_both_reference_and_unseen() -> None:
    images = FewImages(20_000, held_out=6_000)
    assert not (images.sample.known & images.sample.unseen).any()
    assert images.sample.known.sum() == 10_000
    assert images.sample.unseen.sum() == 4_000


def test_many_features_leave_fewer_images_for_the_limits() -> None:
    images = FewImages(20_000, held_out=6_000, units=8192)
    assert images.sample.known.sum() == 512
    assert images.sample.unseen.sum() == 2048
