"""Explain: why a model was wrong about the chosen images, and where it looks for each label.

In: the records of a model, of its predictions, of the chosen images, and of both splits. Out: an ExplanationsRecord.
Runs in a worker process, since it predicts some hundred thousand altered images.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that explains, and not by the flow

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.bar import Bar
from tasks.combine import last_features
from tasks.evaluate import load_model, predicting
from tasks.feed import held_out_indices
from tasks.files import all_verified, keep, verified
from tasks.findings import Explanation, Explanations, Focus, Neighbour, Patch
from tasks.judged import judged
from tasks.occlusion import INK, Predict, blank_of, edges, heat_maps, heat_window, smallest_patches
from tasks.predictions import Predictions
from tasks.records import ExplanationsRecord, ModelRecord, PredictionsRecord, SelectionRecord, SplitRecord
from tasks.select import Selection
from tasks.split import Split, read_groups, read_marks, read_split
from tasks.step import step
from tasks.workspace import Workspace

if TYPE_CHECKING:
    import keras

FOCUS_IMAGES = (
    120  # right answers whose maps are averaged, over all labels together; of more labels, the first have one each
)
USUAL = 500  # right answers whose nearest neighbours say how far is far


@step("explain {model.name}", libraries=("keras", "numpy", "pyarrow", "scikit-learn", "tensorflow"))
def explain(
    model: ModelRecord,
    predictions: PredictionsRecord,
    selection: SelectionRecord,
    train: SplitRecord,
    test: SplitRecord,
    work: Workspace,
) -> ExplanationsRecord:
    """Explain a model's wrong answers among the chosen images.

    Raises:
        StorageError: a file is gone or altered, or the model is refused.
    """
    learned, asked = all_verified(work.root, train.parts), read_split(all_verified(work.root, test.parts))
    (given,) = judged(test, [predictions], work).given
    chosen = Selection.model_validate_json(verified(work.root, selection.file).read_bytes()).indices
    network = load_model(verified(work.root, model.file))
    bar = Bar(f"explaining-{model.name}", f"{model.name}: explaining")

    wrong = np.array([index for index in chosen if given.wrong[index]], np.intp)
    predict = predicting(network)
    images, labels, blank = asked.images[wrong], asked.labels[wrong], blank_of(asked.images)
    sizes = len(list(edges(asked.meta.shape[:2])))

    def progressed(n: int) -> None:
        bar.refresh(0.6 * n / sizes, f"{model.name}: erasing, size {n} of {sizes}")

    patches = smallest_patches(images, labels, predict, progressed, blank=blank)
    heats = heat_maps(images, labels, predict, blank=blank)
    bar.refresh(0.7, f"{model.name}: where it looks")
    focus = tuple(focus_maps(asked, given, predict, blank))
    bar.refresh(0.8, f"{model.name}: nearest training images")
    neighbours = list(nearest_training_images(network, learned, learned_from(model, train), asked, given, wrong))
    found = Explanations(
        model=model.name,
        window=heat_window(asked.meta.shape[:2]),
        by_index=dict(zip(wrong.tolist(), explained(patches, heats, neighbours), strict=True)),
        focus=focus,
    )
    bar.refresh(1.0, f"{model.name}: {len(wrong)} wrong answers explained")
    file = keep(work.root, "explanations", model.name, ".json", found.model_dump_json().encode())
    return ExplanationsRecord(model=model.name, file=file, count=len(wrong))


def learned_from(model: ModelRecord, train: SplitRecord) -> NDArray[np.bool_]:
    """Which images of the whole training split a model was trained on, or any member of it: (N,) bool."""
    total = train.drawn_from or train.count
    kept = np.zeros(total, bool)
    for seed in model.seeds or (model.seed,):
        kept[held_out_indices(total, model.held_out, seed)[0]] = True
    return kept


def explained(
    patches: list[Patch | None],
    heats: NDArray[np.float32],
    neighbours: list[tuple[tuple[Neighbour, ...], float]],
) -> Iterator[Explanation]:
    """One explanation an image, from its parts."""
    for patch, heat, (near, rare) in zip(patches, heats, neighbours, strict=True):
        yield Explanation(patch=patch, heat=packed(heat), neighbours=near, rarity=rare)


def packed(shares: NDArray[np.floating]) -> str:
    """Values between 0 and 1 as bytes in base64."""
    return base64.b64encode(np.rint(shares.clip(0, 1) * 255).astype(np.uint8).tobytes()).decode()


def focus_maps(split: Split, given: Predictions, predict: Predict, blank: NDArray[np.uint8]) -> Iterator[Focus]:
    """Where a model looks for each label, from its first right answers."""
    classes = len(split.meta.classes)
    each = max(1, FOCUS_IMAGES // classes)
    right = (np.flatnonzero(~given.wrong & (given.labels == label)) for label in range(min(classes, FOCUS_IMAGES)))
    chosen = np.concatenate([places[:each] for places in right])
    labels = given.labels[chosen]
    heats = heat_maps(split.images[chosen], labels, predict, blank=blank)
    falls = (given.probabilities[chosen, labels][:, None, None] - heats).clip(0)
    for label in np.unique(labels).tolist():
        of_label = falls[labels == label]
        yield focus_of(label, len(of_label), of_label.mean(axis=0), split, blank)


def focus_of(label: int, count: int, falls: NDArray[np.floating], split: Split, blank: NDArray[np.uint8]) -> Focus:
    """The focus on one label, from the mean falls of its probability, (rows, columns)."""
    peak = float(falls.max())
    row, column = (int(place) for place in np.unravel_index(int(falls.argmax()), falls.shape))
    half = heat_window(falls.shape) // 2
    window = split.images[:, max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
    inked = np.any(np.abs(window.reshape(len(window), -1, len(blank)).astype(np.int16) - blank) >= INK, axis=(1, 2))
    of_label = np.asarray(split.labels == label)
    return Focus(
        label=label,
        count=count,
        peak=peak,
        row=row,
        column=column,
        ink_here=float(inked[of_label].mean()),
        ink_elsewhere=float(inked[~of_label].mean()) if not of_label.all() else 0.0,
        heat=packed(falls / peak if peak else falls),
    )


def nearest_training_images(
    network: "keras.Model",
    learned: Sequence[Path],
    kept: NDArray[np.bool_],
    asked: Split,
    given: Predictions,
    wrong: NDArray[np.intp],
) -> Iterator[tuple[tuple[Neighbour, ...], float]]:
    """For each wrong answer the nearest of the images that the model was trained on, and how rare it is to be so far.

    These are the images of a split, or of a sample of it, at the paths `learned`; `kept` says it of all images of the split.
    """
    from tasks.neighbours import nearest, rarity

    if not len(wrong):
        return
    marks = read_marks(learned)
    trained_on = np.flatnonzero(kept[marks.indices])
    blocks = ((block.images, kept[block.indices]) for block in read_groups(learned))
    network_of_features = last_features(network)
    features = predicting(network_of_features)
    known = np.empty((len(trained_on), network_of_features.output_shape[-1]), np.float32)
    end = 0
    for images, which in blocks:
        start, end = end, end + int(which.sum())
        known[start:end] = features(images[which])
    usual = np.flatnonzero(~given.wrong)[:USUAL]
    normal = nearest(known, features(asked.images[usual]))[0][:, 0] if len(usual) else np.zeros(0)
    distances, places = nearest(known, features(asked.images[wrong]))
    for row, found, rare in zip(distances, trained_on[places], rarity(distances[:, 0], normal), strict=True):
        near = tuple(
            Neighbour(index=int(index), label=int(marks.labels[index]), distance=float(distance))
            for index, distance in zip(found, row, strict=True)
        )
        yield near, float(rare)
