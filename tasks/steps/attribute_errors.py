"""Find the training images that may have caused a model's errors, and the limits of its usual predictions.

The step predicts every training image. Among the images that the model was trained on, it finds the nearest neighbors,
in the model's last features, of each misclassified test image. From images that the model was not trained on, it
chooses the limits beyond which `mnist predict` marks a prediction as doubtful. All results come from one pass over the
training images, because prediction dominates the run time. The step runs in a worker process.
"""
# ruff: noqa: PLC0415  # the worker process imports TensorFlow; the flow process does not

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.batching import held_out_indices
from tasks.data.evaluated_split import load_evaluated_split
from tasks.data.split_parquet import Labels, Split, read_groups, read_images, read_index
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.findings import Attribution, Neighbor, NeighborSet
from tasks.schemas.records import AttributionRecord, FileRecord, ModelRecord, PredictionsRecord, SplitRecord
from tasks.steps.evaluate import Answers, save_predictions
from tasks.storage.content_files import require_all_valid, write_content_addressed, write_document
from tasks.storage.folders import Folder
from tasks.training.ensemble_model import with_features
from tasks.training.inference import batch_predictor, load_shared_model
from tasks.training.keras_runtime import hide_packages

_REFERENCE_IMAGES = 500  # correct predictions that give the reference distribution of nearest distances
# Training images from which the distance of a new image is measured: as good as all of them, because the limit is
# measured from the same images, and in a second. With many features, their file would be large.
_MOST_KNOWN, _KNOWN_BYTES = 10_000, 8 << 20
# Images that determine the limits: with the most, a rate of 3 % is measured to within 0.8 points; with fewer than the
# fewest, the limits would be those of two or three images.
_MOST_UNSEEN, _FEWEST_UNSEEN = 4_000, 200
_UNSEEN_BYTES = 64 << 20  # of their features in memory


class _LimitsSample:
    """The images from which the limits of a model are chosen, and the model's outputs for them.

    `known` are training images that stand for all, and `unseen` are images that were held out, if there are enough:
    (N,) bool masks over the whole training split. `most` limits the number of unseen images. `outputs` are the features
    of the known images, and the features and predictions of the unseen ones, block by block.
    """

    def __init__(self, kept: NDArray[np.bool_], indices: NDArray[np.int32], units: int) -> None:
        self.known, self.unseen = np.zeros_like(kept), np.zeros_like(kept)
        learned, held_out = indices[kept[indices]], indices[~kept[indices]]
        self.known[_draw(learned, min(_MOST_KNOWN, _KNOWN_BYTES // (2 * units)))] = True
        self.most = min(_MOST_UNSEEN, _UNSEEN_BYTES // (4 * units))
        if len(held_out) >= _FEWEST_UNSEEN:
            self.unseen[_draw(held_out, self.most)] = True
        self.units = units
        self.labels: list[Any] = []  # of the unseen images, an array for each block
        self.outputs: dict[str, list[NDArray[np.float32]]] = {"known": [], "unseen": []}

    def see(self, block: Split, found: NDArray[np.float32]) -> None:
        """Keep the outputs for those images of a block that belong to the sample."""
        unseen = self.unseen[block.indices]
        self.outputs["known"].append(found[self.known[block.indices], : self.units])
        self.outputs["unseen"].append(found[unseen])
        self.labels.append(block.labels[unseen])

    def write(
        self, name: str, predict_test: Callable[[], NDArray[np.float32]], work: Workspace
    ) -> dict[str, FileRecord]:
        """Choose the limits, and write them and the features of the known images.

        If too few images were held out, `predict_test` is called: it returns the outputs for some test images, whose labels
        are not read. With too few images, nothing is written.
        """
        from tasks.analysis.doubt import choose_limits, decode_reference, encode_reference, scale_of

        known, unseen = (np.concatenate(self.outputs[each]) for each in ("known", "unseen"))
        labels: Labels | None = np.concatenate(self.labels) if len(unseen) else None
        unseen = unseen if len(unseen) else predict_test()
        if len(unseen) < _FEWEST_UNSEEN or not len(known):
            return {}
        scale = scale_of(known)
        reference = encode_reference(known / np.float32(scale))
        features = unseen[:, : self.units] / np.float32(scale)
        limits = choose_limits(unseen[:, self.units :], features, decode_reference(reference), labels, scale=scale)
        folder = Folder.ATTRIBUTIONS
        return {
            "limits": write_document(work.root, folder, f"{name}-limits", limits),
            "reference": write_content_addressed(work.root, folder, f"{name}-reference", ".npy", reference),
        }


@step(
    "attribute {model.name}",
    libraries=("keras", "numpy", "pyarrow", "scikit-learn", "scipy", "statsmodels", "tensorflow"),
)
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
    test_paths = require_all_valid(work.root, test.parts)
    nearest = Nearest(predict(_images_at(test_paths, [*wrong, *right]))[:, :units])
    kept, split_index = _trained_on(model, train), read_index(paths)
    sample = _LimitsSample(kept, split_index.indices, units)

    def answers() -> Answers:
        for block in read_groups(paths):
            found = predict(block.images)
            nearest.see(found[kept[block.indices], :units])
            sample.see(block, found)
            yield block, found[:, units:]

    record = save_predictions(model, train, answers(), work)
    places = np.flatnonzero(kept[split_index.indices])[nearest.places]
    percentiles = nearest_distance_percentile(nearest.distances[: len(wrong), 0], nearest.distances[len(wrong) :, 0])
    # `wrong` ends the iteration: the rows after it belong to correct predictions.
    rows = zip(wrong.tolist(), places, nearest.distances, percentiles, strict=False)
    by_index = {index: _attributed(split_index.labels, *row) for index, *row in rows}
    file = write_document(work.root, Folder.ATTRIBUTIONS, model.name, Attribution(model=model.name, by_index=by_index))
    unlabeled = _draw(np.arange(test.count), sample.most)
    limits = sample.write(model.name, lambda: predict(_images_at(test_paths, unlabeled)), work)
    return AttributionRecord(**dict(record), neighbors=file, **limits)


def _draw(places: NDArray[np.integer], most: int) -> NDArray[np.intp]:
    """Return up to `most` of some places, drawn at random, in ascending order."""
    return np.sort(np.random.default_rng(0).permutation(places)[:most]).astype(np.intp)


def _images_at(paths: Sequence[Path], places: Sequence[int] | NDArray[np.intp]) -> NDArray[np.uint8]:
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
