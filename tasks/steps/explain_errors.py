"""Explain a model's errors on the selected images, and compute a saliency map for each label.

The step runs in a worker process, because it predicts several hundred thousand occluded images.
"""

import base64
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.data.evaluated_split import load_evaluated_split
from tasks.data.predictions_parquet import Predictions
from tasks.data.split_parquet import Split, read_split
from tasks.engine.cached_task import step
from tasks.engine.optional_parts import optional
from tasks.engine.task_progress import ProgressBar
from tasks.engine.workspace import Workspace
from tasks.images.encoding import INK
from tasks.images.occlusion import Predict, blank_of, edges, heat_window, occlusion_maps, smallest_correcting_patches
from tasks.schemas.findings import Attribution, Explanation, Explanations, SaliencyMap
from tasks.schemas.records import (
    AttributionRecord,
    ExplanationsRecord,
    ModelRecord,
    Omission,
    PredictionsRecord,
    SelectionRecord,
    SplitRecord,
)
from tasks.steps.select_examples import Selection
from tasks.storage.content_files import read_document, require_all_valid, write_document
from tasks.storage.folders import Folder
from tasks.training.inference import batch_predictor, load_shared_model

# Correct predictions over all labels; with more labels than this, only the first labels get a map.
_SALIENCY_IMAGES = 120


@step("explain {model.name}", libraries=("keras", "numpy", "pyarrow", "tensorflow"))
def explain(
    model: ModelRecord,
    predictions: PredictionsRecord,
    attribution: AttributionRecord,
    selection: SelectionRecord,
    test: SplitRecord,
    work: Workspace,
) -> ExplanationsRecord:
    """Explain a model's errors among the selected images; a part that fails is omitted.

    Raises:
        StorageError: If a file is missing or altered, or the model is rejected.
    """
    asked = read_split(require_all_valid(work.root, test.parts))
    near = read_document(work.root, attribution.neighbors, Attribution).by_index
    (given,) = load_evaluated_split(test, [predictions], work).predictions
    chosen = read_document(work.root, selection.file, Selection).indices
    network = load_shared_model(work.root, model.file)
    bar = ProgressBar(f"explaining-{model.name}", f"{model.name}: explaining")

    wrong = np.array([index for index in chosen if given.wrong[index]], np.intp)
    predict = batch_predictor(network, modified=True)
    images, labels, blank = asked.images[wrong], asked.labels[wrong], blank_of(asked.images)
    sizes = len(list(edges(asked.meta.shape[:2])))

    def progressed(n: int) -> None:
        bar.refresh(0.8 * n / sizes, f"{model.name}: correcting patches, size {n} of {sizes}")

    by_index: dict[int, Explanation] = {}
    saliency_maps: tuple[SaliencyMap, ...] = ()
    omitted: list[Omission] = []
    with optional(f"explanations of {model.name}", omitted):
        patches = smallest_correcting_patches(images, labels, predict, progressed, blank=blank)
        heats = occlusion_maps(images, labels, predict, blank=blank)
        by_index = {
            index: Explanation(patch=patch, heat=_pack_shares(heat), **dict(near[index]))
            for index, patch, heat in zip(wrong.tolist(), patches, heats, strict=True)
        }
    bar.refresh(0.9, f"{model.name}: saliency maps")
    with optional(f"saliency maps of {model.name}", omitted):
        saliency_maps = tuple(_saliency_maps(asked, given, predict, blank))
    found = Explanations(
        model=model.name, window=heat_window(asked.meta.shape[:2]), by_index=by_index, saliency_maps=saliency_maps
    )
    bar.refresh(1.0, f"{model.name}: explained {len(by_index)} errors")
    file = write_document(work.root, Folder.EXPLANATIONS, model.name, found)
    return ExplanationsRecord(model=model.name, file=file, count=len(by_index), omitted=tuple(omitted))


def _pack_shares(shares: NDArray[np.floating]) -> str:
    """Return values between 0 and 1, scaled to bytes from 0 to 255, in base64."""
    return base64.b64encode(np.rint(shares.clip(0, 1) * 255).astype(np.uint8).tobytes()).decode()


def _saliency_maps(
    split: Split, given: Predictions, predict: Predict, blank: NDArray[np.uint8]
) -> Iterator[SaliencyMap]:
    """Yield the saliency map of each label, averaged over the label's first correctly predicted images."""
    classes = len(split.meta.classes)
    each = max(1, _SALIENCY_IMAGES // classes)
    right = (np.flatnonzero(~given.wrong & (given.labels == label)) for label in range(min(classes, _SALIENCY_IMAGES)))
    chosen = np.concatenate([places[:each] for places in right])
    labels = given.labels[chosen]
    heats = occlusion_maps(split.images[chosen], labels, predict, blank=blank)
    falls = (given.probabilities[chosen, labels][:, None, None] - heats).clip(0)
    for label in np.unique(labels).tolist():
        of_label = falls[labels == label]
        yield _saliency_map(label, len(of_label), of_label.mean(axis=0), split, blank)


def _saliency_map(
    label: int, count: int, falls: NDArray[np.floating], split: Split, blank: NDArray[np.uint8]
) -> SaliencyMap:
    """Return the saliency map of one label.

    `falls`, (rows, columns), is the mean decrease of the label's probability under occlusion over `count` correct
    predictions. `blank` is the value of an erased pixel, one number per channel.
    """
    peak = float(falls.max())
    row, column = (int(place) for place in np.unravel_index(int(falls.argmax()), falls.shape))
    half = heat_window(falls.shape) // 2
    window = split.images[:, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
    inked = np.any(np.abs(window.reshape(len(window), -1, len(blank)).astype(np.int16) - blank) >= INK, axis=(1, 2))
    of_label = np.asarray(split.labels == label)
    return SaliencyMap(
        label=label,
        count=count,
        peak=peak,
        row=row,
        column=column,
        ink_here=float(inked[of_label].mean()),
        ink_elsewhere=float(inked[~of_label].mean()) if not of_label.all() else 0.0,
        heat=_pack_shares(falls / peak if peak else falls),
    )
