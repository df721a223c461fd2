"""Test explanations of a real network on tiny real data."""

import base64
import json

import numpy as np
import pytest

from tasks.config.recipe import load_recipe
from tasks.data.batching import held_out_indices
from tasks.data.predictions_parquet import read_predictions
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.schemas.findings import Explanations
from tasks.schemas.records import ExplanationsRecord, ModelRecord, PredictionsRecord, SplitRecord
from tasks.steps.attribute_errors import attribute
from tasks.steps.evaluate import evaluate
from tasks.steps.explain_errors import explain
from tasks.steps.select_examples import Selection, select
from tasks.steps.train import train
from tests.conftest import single_threaded

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(shared_splits: dict[str, SplitRecord], shared_work: Workspace) -> tuple[ModelRecord, PredictionsRecord]:
    training = load_recipe("post", epochs=4, validation=0.1).trainings()[0]
    with single_threaded():
        model = train.fn(training, shared_splits["train"], shared_work)
        return model, evaluate.fn(model, shared_splits["test"], shared_work)


def explained(
    trained: tuple[ModelRecord, PredictionsRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> tuple[ExplanationsRecord, Explanations]:
    selection = select.fn({"plain": trained[1]}, shared_splits["test"], shared_work)
    attribution = attribute.fn(*trained, shared_splits["train"], shared_splits["test"], shared_work)
    record = explain.fn(*trained, attribution, selection, shared_splits["test"], shared_work)
    return record, Explanations.model_validate_json((shared_work.root / record.file.path).read_bytes())


def test_every_chosen_error_is_explained(
    trained: tuple[ModelRecord, PredictionsRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    model, predictions = trained
    record, found = explained(trained, shared_splits, shared_work)
    given = read_predictions(shared_work.root / predictions.file.path)
    assert set(found.by_index) == set(np.flatnonzero(given.wrong).tolist())
    assert record.count == predictions.errors > 10
    train_split, test_split = (
        read_split([shared_work.root / shared_splits[name].file.path]) for name in ("train", "test")
    )
    kept, _ = held_out_indices(600, model.held_out, model.seed)
    from tasks.training.inference import load_model

    network = load_model(shared_work.root / model.file.path)
    for index, one in found.by_index.items():
        assert len(base64.b64decode(one.heat)) == 28 * 28
        assert len(one.neighbors) == 5
        assert [near.distance for near in one.neighbors] == sorted(near.distance for near in one.neighbors)
        assert all(near.label == train_split.labels[near.index] and near.index in kept for near in one.neighbors)
        assert 0 <= one.nearest_distance_percentile <= 1
        if one.patch:
            image = test_split.images[index].copy()
            image[
                one.patch.row : one.patch.row + one.patch.edge, one.patch.column : one.patch.column + one.patch.edge
            ] = 0
            answer = network.predict(image[None], verbose=0)[0]
            assert answer.argmax() == test_split.labels[index]
            assert answer.max() == pytest.approx(one.patch.probability, abs=1e-4)
    assert sum(one.patch is not None for one in found.by_index.values()) > 10


def test_saliency_maps_peak_near_the_ink(
    trained: tuple[ModelRecord, PredictionsRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    _, found = explained(trained, shared_splits, shared_work)
    assert found.window == 5
    for one in found.saliency_maps:
        heat = np.frombuffer(base64.b64decode(one.heat), np.uint8).reshape(28, 28)
        assert one.count >= 1
        assert heat[one.row, one.column] == heat.max()
        assert 2 <= one.row <= 25
        assert 2 <= one.column <= 25


def test_a_selection_names_images_in_order(
    trained: tuple[ModelRecord, PredictionsRecord], shared_splits: dict[str, SplitRecord], shared_work: Workspace
) -> None:
    record = select.fn({"plain": trained[1]}, shared_splits["test"], shared_work)
    indices = Selection(**json.loads((shared_work.root / record.file.path).read_text())).indices
    assert list(indices) == sorted(indices)
    assert len(indices) == record.count
