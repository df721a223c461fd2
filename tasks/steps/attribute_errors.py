"""Attribute: from which training images a model's wrong answers may come.

In: the records of a model, of its predictions for the test images, and of both splits. Out: an AttributionRecord: what the
model says of every training image, and which of those that it learned from look to it most like the images that it got wrong.
Both come from one pass over the training images, since predicting is what takes the time. Runs in a worker process.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that attributes, and not by the flow

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.batching import held_out_indices
from tasks.data.evaluated_split import load_evaluated_split
from tasks.data.split_parquet import Labels, read_groups, read_images, read_index
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.findings import Attribution, Neighbor, NeighborSet
from tasks.schemas.records import AttributionRecord, ModelRecord, PredictionsRecord, SplitRecord
from tasks.steps.evaluate import Answers, save_predictions
from tasks.storage.content_files import require_all_valid, require_valid, write_content_addressed
from tasks.storage.folders import Folder
from tasks.training.ensemble_model import with_features
from tasks.training.inference import batch_predictor, load_model
from tasks.training.keras_runtime import hidden

_USUAL = 500  # right answers whose nearest neighbours say how far is far


@step("attribute {model.name}", libraries=("keras", "numpy", "pyarrow", "scikit-learn", "tensorflow"))
def attribute(
    model: ModelRecord, predictions: PredictionsRecord, train: SplitRecord, test: SplitRecord, work: Workspace
) -> AttributionRecord:
    """Predict every training image, and find the nearest neighbours of the model's wrong answers.

    Raises:
        StorageError: a file is gone or altered, the model is refused, or what is found can't be written.
    """
    with hidden(("pandas",)):  # which scikit-learn imports where it finds it
        from tasks.analysis.neighbors import Nearest, nearest_distance_percentile

    learned = require_all_valid(work.root, train.parts)
    (given,) = load_evaluated_split(test, [predictions], work).given
    wrong, right = np.flatnonzero(given.wrong), np.flatnonzero(~given.wrong)[:_USUAL]
    network = with_features(load_model(require_valid(work.root, model.file)))
    predict, units = batch_predictor(network), network.output_shape[-1] - len(train.classes)
    nearest = Nearest(predict(_images_at(require_all_valid(work.root, test.parts), [*wrong, *right]))[:, :units])
    kept = _learned_from(model, train)

    def answers() -> Answers:
        for block in read_groups(learned):
            found = predict(block.images)
            nearest.see(found[kept[block.indices], :units])
            yield block, found[:, units:]

    record = save_predictions(model, train, answers(), work)
    marks = read_index(learned)
    places = np.flatnonzero(kept[marks.indices])[nearest.places]
    rare = nearest_distance_percentile(nearest.distances[: len(wrong), 0], nearest.distances[len(wrong) :, 0])
    # Those of the right answers, which follow, are left out.
    rows = zip(wrong.tolist(), places, nearest.distances, rare, strict=False)
    found = Attribution(model=model.name, by_index={index: _attributed(marks.labels, *row) for index, *row in rows})
    file = write_content_addressed(
        work.root, Folder.ATTRIBUTIONS, model.name, ".json", found.model_dump_json().encode()
    )
    return AttributionRecord(**dict(record), neighbours=file)


def _images_at(paths: Sequence[Path], places: Sequence[int]) -> NDArray[np.uint8]:
    """The images at some places of a split, in this order."""
    found = read_images(paths, places)
    return np.stack([found[place] for place in places])


def _learned_from(model: ModelRecord, train: SplitRecord) -> NDArray[np.bool_]:
    """Which images of the whole training split a model was trained on, or any member of it: (N,) bool."""
    total = train.drawn_from or train.count
    kept = np.zeros(total, bool)
    for seed in model.seeds or (model.seed,):
        kept[held_out_indices(total, model.held_out, seed)[0]] = True
    return kept


def _attributed(
    labels: Labels, places: NDArray[np.intp], distances: NDArray[np.float64], rare: float | None
) -> NeighborSet:
    """The neighbours of an image: training images at these places of the split, and how far they are."""
    near = zip(places.tolist(), labels[places].tolist(), distances.tolist(), strict=True)
    return NeighborSet(
        neighbours=tuple(Neighbor(index=place, label=label, distance=distance) for place, label, distance in near),
        rarity=rare,
    )
