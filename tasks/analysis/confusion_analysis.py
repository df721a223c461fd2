"""Count which labels are confused with which, by model, and where models disagree.

All predictions are for the same images in the same order.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.statistics import compare_predictions, fisher_p, holm, mcnemar_p, share_estimate
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.findings import Comparison, DisagreementGroup, LabelErrors, Pattern, Share


def confusion_matrix(predictions: Predictions) -> NDArray[np.int64]:
    """Return the confusion matrix, (K, K), with one row per label and one column per predicted label."""
    classes = predictions.probabilities.shape[1]
    cells = predictions.labels.astype(np.int64) * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _most_confident_first(
    mask: NDArray[np.bool_], confidence: NDArray[np.floating], may_show: NDArray[np.bool_]
) -> tuple[int, ...]:
    """Return the indices of the images of `mask` that the report may show, sorted by descending confidence.

    Args:
        mask: (N,) bool mask of the images.
        confidence: (N,) confidence by which the images are sorted.
        may_show: (N,) bool mask of the images that the report may show.
    """
    indices = np.flatnonzero(mask & may_show)
    return tuple(indices[np.argsort(-confidence[indices], kind="stable")].tolist())


def most_confident(predictions: Predictions, may_show: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the indices of a model's errors that the report may show, the most confident first."""
    return _most_confident_first(predictions.wrong, predictions.confidence, may_show)


def find_patterns(predictions: Sequence[Predictions], may_show: NDArray[np.bool_]) -> tuple[Pattern, ...]:
    """Return every (predicted, label) pattern of errors, the most frequent over all models first.

    Each pattern names the images that any model misclassified in this way and that the report may show.
    """
    counts = [Counter(zip(p.predicted[p.wrong].tolist(), p.labels[p.wrong].tolist(), strict=True)) for p in predictions]
    total: Counter[tuple[int, int]] = sum(counts, Counter())
    return tuple(
        _pattern_of(predictions, predicted, label, tuple(count[predicted, label] for count in counts), may_show)
        for predicted, label in sorted(total, key=lambda pattern: (-total[pattern], pattern))
    )


def _pattern_of(
    predictions: Sequence[Predictions], predicted: int, label: int, counts: tuple[int, ...], may_show: NDArray[np.bool_]
) -> Pattern:
    """Return one pattern, with the images of `label` that any model classified as `predicted`.

    `counts` holds the number of these errors of each model.
    """
    hits = np.array([(p.predicted == predicted) & (p.labels == label) for p in predictions])  # (models, N)
    confidence = np.array([p.probabilities[:, predicted] for p in predictions])  # (models, N)
    taken_so = np.any(hits, axis=0)
    return Pattern(
        predicted=predicted,
        label=label,
        counts=counts,
        images=int(taken_so.sum()),
        shown=_most_confident_first(taken_so, np.where(hits, confidence, 0).max(axis=0), may_show),
    )


def label_errors(predictions: Sequence[Predictions], classes: int) -> tuple[LabelErrors, ...]:
    """Return the errors by label, with tests between the models, and tests of each label against all others.

    The label with the most errors of all models comes first. Labels without errors come last, after them labels without
    images.
    """
    inside = [[errors_where(p, p.labels == label) for p in predictions] for label in range(classes)]
    outside = [[errors_where(p, p.labels != label) for p in predictions] for label in range(classes)]
    paired = iter(holm([p for label in range(classes) for p in _label_tests(predictions, label)]))
    against = iter(
        holm([fisher_p(*pair) for row in zip(inside, outside, strict=True) for pair in zip(*row, strict=True)])
    )
    found = [
        LabelErrors(
            label=label,
            errors=tuple(inside[label]),
            elsewhere=tuple(outside[label]),
            p=tuple(next(paired) for _ in combinations(predictions, 2)),
            p_elsewhere=tuple(next(against) for _ in predictions),
        )
        for label in range(classes)
    ]
    return tuple(sorted(found, key=lambda line: (-sum(one.count for one in line.errors), not line.errors[0].known)))


def errors_where(predictions: Predictions, mask: NDArray[np.bool_]) -> Share:
    """Return the share of misclassified images among the images of `mask`, (N,)."""
    return share_estimate(int(predictions.wrong[mask].sum()), int(mask.sum()))


def _label_tests(predictions: Sequence[Predictions], label: int) -> list[float]:
    """Return McNemar's p-value of every pair of models over the images of one label."""
    of_label = predictions[0].labels == label
    return [
        mcnemar_p(int((other.wrong & ~one.wrong & of_label).sum()), int((one.wrong & ~other.wrong & of_label).sum()))
        for one, other in combinations(predictions, 2)
    ]


def compare_all_models(names: Sequence[str], predictions: Sequence[Predictions]) -> tuple[Comparison, ...]:
    """Return the comparison of every pair of models, with p-values corrected for the number of pairs."""
    pairs = combinations(zip(names, predictions, strict=True), 2)
    found = [compare_predictions(first, one, second, other) for (first, one), (second, other) in pairs]
    corrected = holm([one.p for one in found])
    return tuple(one.model_copy(update={"p": p, "tests": len(found)}) for one, p in zip(found, corrected, strict=True))


def disagreement_groups(
    names: tuple[str, str], one: Predictions, other: Predictions, may_show: NDArray[np.bool_]
) -> tuple[DisagreementGroup, ...]:
    """Group the images by the outcome of two models, such as both right or only one wrong."""
    same = one.predicted == other.predicted
    confidence = np.maximum(np.where(one.wrong, one.confidence, 0), np.where(other.wrong, other.confidence, 0))
    found = {
        "both right": ~one.wrong & ~other.wrong,
        f"only {names[0]} wrong": one.wrong & ~other.wrong,
        f"only {names[1]} wrong": ~one.wrong & other.wrong,
        "both wrong, same prediction": one.wrong & other.wrong & same,
        "both wrong, different predictions": one.wrong & other.wrong & ~same,
    }
    return tuple(
        DisagreementGroup(
            name=name,
            count=int(mask.sum()),
            shown=_most_confident_first(mask & (one.wrong | other.wrong), confidence, may_show),
        )
        for name, mask in found.items()
    )
