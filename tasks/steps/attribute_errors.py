"""Find the training images that may have caused a model's errors.

The step predicts every training image. Among the images that the model was trained on, it finds the nearest neighbors,
in the model's last features, of each misclassified test image. Both results come from one pass over the training
images, because prediction dominates the run time. The step runs in a worker process.
"""
# ruff: noqa: PLC0415  # the worker process imports TensorFlow; the flow process does not

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
from tasks.storage.content_files import require_all_valid, write_document
from tasks.storage.folders import Folder
from tasks.training.ensemble_model import with_features
from tasks.training.inference import batch_predictor, load_shared_model
from tasks.training.keras_runtime import hide_packages

_REFERENCE_IMAGES = 500  # correct predictions that give the reference distribution of nearest distances


@step("attribute {model.name}", libraries=("keras", "numpy", "pyarrow", "scikit-learn", "tensorflow"))
def attribute(
    model: ModelRecord, predictions: PredictionsRecord, train: SplitRecord, test: SplitRecord, work: Workspace
) -> AttributionRecord:
    """Predict every training image and find the nearest neighbors of the misclassified test images.

    Raises:
        StorageError: If a file is missing or altered, the model is rejected, or the results can't be written.
        DivergedError: If the model's output for an image is not finite.
    """
    with hide_packages(("pandas",)):  # scikit-learn imports pandas if it is installed
        from tasks.analysis.neighbors import Nearest, nearest_distance_percentile

    paths = require_all_valid(work.root, train.parts)
    (given,) = load_evaluated_split(test, [predictions], work).predictions
    wrong, right = np.flatnonzero(given.wrong), np.flatnonzero(~given.wrong)[:_REFERENCE_IMAGES]
    network = with_features(load_shared_model(work.root, model.file))
    predict, units = batch_predictor(network), network.output_shape[-1] - len(train.classes)
    nearest = Nearest(predict(_images_at(require_all_valid(work.root, test.parts), [*wrong, *right]))[:, :units])
    kept = _trained_on(model, train)

    def answers() -> Answers:
        for block in read_groups(paths):
            found = predict(block.images)
            nearest.see(found[kept[block.indices], :units])
            yield block, found[:, units:]

    record = save_predictions(model, train, answers(), work)
    split_index = read_index(paths)
    places = np.flatnonzero(kept[split_index.indices])[nearest.places]
    percentiles = nearest_distance_percentile(nearest.distances[: len(wrong), 0], nearest.distances[len(wrong) :, 0])
    # `wrong` ends the iteration: the rows after it belong to correct predictions.
    rows = zip(wrong.tolist(), places, nearest.distances, percentiles, strict=False)
    found = Attribution(
        model=model.name, by_index={index: _attributed(split_index.labels, *row) for index, *row in rows}
    )
    file = write_document(work.root, Folder.ATTRIBUTIONS, model.name, found)
    return AttributionRecord(**dict(record), neighbors=file)


def _images_at(paths: Sequence[Path], places: Sequence[int]) -> NDArray[np.uint8]:
    """Return the images at some indices of a split, in the given order."""
    found = read_images(paths, places)
    return np.stack([found[place] for place in places])


def _trained_on(model: ModelRecord, train: SplitRecord) -> NDArray[np.bool_]:
    """Return which images of the whole training split the model, or any member of an ensemble, was trained on.

    Returns:
        (N,) bool mask over the whole split, even if `train` is a sample of it.
    """
    total = train.drawn_from or train.count
    kept = np.zeros(total, bool)
    for seed in model.seeds or (model.seed,):
        kept[held_out_indices(total, model.held_out, seed)[0]] = True
    return kept


def _attributed(
    labels: Labels, places: NDArray[np.intp], distances: NDArray[np.float64], percentile: float | None
) -> NeighborSet:
    """Return the neighbors of one image.

    Args:
        labels: (N,) labels of the training split.
        places: (k,) indices of the neighbors in that split.
        distances: (k,) distances of the neighbors.
        percentile: Share of correct predictions with a smaller nearest distance, from 0 to 1; None if it is unknown.
    """
    near = zip(places.tolist(), labels[places].tolist(), distances.tolist(), strict=True)
    return NeighborSet(
        neighbors=tuple(Neighbor(index=place, label=label, distance=distance) for place, label, distance in near),
        nearest_distance_percentile=percentile,
    )
