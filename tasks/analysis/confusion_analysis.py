"""Patterns: what was taken for what, by which model, and where models disagree.

In: the predictions of one model or of all, over the same images in the same order. Out: counts, and the images to show.
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
    """The confusion matrix, (K, K): rows are labels, columns predictions."""
    classes = predictions.probabilities.shape[1]
    cells = predictions.labels.astype(np.int64) * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _most_confident_first(
    which: NDArray[np.bool_], sure: NDArray[np.floating], may_show: NDArray[np.bool_]
) -> tuple[int, ...]:
    """The images of `which` that a gallery may show: those of the highest `sure` first."""
    indices = np.flatnonzero(which & may_show)
    return tuple(indices[np.argsort(-sure[indices], kind="stable")].tolist())


def most_confident(predictions: Predictions, may_show: NDArray[np.bool_]) -> tuple[int, ...]:
    """The surest wrong answers of a model."""
    return _most_confident_first(predictions.wrong, predictions.confidence, may_show)


def find_patterns(given: Sequence[Predictions], may_show: NDArray[np.bool_]) -> tuple[Pattern, ...]:
    """Every (predicted, label) pattern, the commonest over all models first, with the images that any model took so."""
    counts = [Counter(zip(p.predicted[p.wrong].tolist(), p.labels[p.wrong].tolist(), strict=True)) for p in given]
    total: Counter[tuple[int, int]] = sum(counts, Counter())
    return tuple(
        _pattern_of(given, predicted, label, tuple(count[predicted, label] for count in counts), may_show)
        for predicted, label in sorted(total, key=lambda pattern: (-total[pattern], pattern))
    )


def _pattern_of(
    given: Sequence[Predictions], predicted: int, label: int, counts: tuple[int, ...], may_show: NDArray[np.bool_]
) -> Pattern:
    """One pattern, with the images of one label that any model took for `predicted`."""
    hits = np.array([(p.predicted == predicted) & (p.labels == label) for p in given])  # (models, N)
    sure = np.array([p.probabilities[:, predicted] for p in given])  # (models, N)
    taken_so = np.any(hits, axis=0)
    return Pattern(
        predicted=predicted,
        label=label,
        counts=counts,
        images=int(taken_so.sum()),
        shown=_most_confident_first(taken_so, np.where(hits, sure, 0).max(axis=0), may_show),
    )


def label_errors(given: Sequence[Predictions], classes: int) -> tuple[LabelErrors, ...]:
    """The errors by label, the label with the most errors of all models first, and what is real of the differences.

    Labels without errors come last, those without images behind them.
    """
    inside = [[errors_where(p, p.labels == label) for p in given] for label in range(classes)]
    outside = [[errors_where(p, p.labels != label) for p in given] for label in range(classes)]
    paired = iter(holm([p for label in range(classes) for p in _label_tests(given, label)]))
    against = iter(
        holm([fisher_p(*pair) for row in zip(inside, outside, strict=True) for pair in zip(*row, strict=True)])
    )
    found = [
        LabelErrors(
            label=label,
            errors=tuple(inside[label]),
            elsewhere=tuple(outside[label]),
            p=tuple(next(paired) for _ in combinations(given, 2)),
            p_elsewhere=tuple(next(against) for _ in given),
        )
        for label in range(classes)
    ]
    return tuple(sorted(found, key=lambda line: (-sum(one.count for one in line.errors), not line.errors[0].known)))


def errors_where(predictions: Predictions, which: NDArray[np.bool_]) -> Share:
    """The share of wrong answers among some images."""
    return share_estimate(int(predictions.wrong[which].sum()), int(which.sum()))


def _label_tests(given: Sequence[Predictions], label: int) -> list[float]:
    """McNemar's p-value of every pair of models over the images of one label."""
    of_label = given[0].labels == label
    return [
        mcnemar_p(int((other.wrong & ~one.wrong & of_label).sum()), int((one.wrong & ~other.wrong & of_label).sum()))
        for one, other in combinations(given, 2)
    ]


def compare_all_models(names: Sequence[str], given: Sequence[Predictions]) -> tuple[Comparison, ...]:
    """Every pair of models; their p-values are corrected for all pairs together."""
    pairs = combinations(zip(names, given, strict=True), 2)
    found = [compare_predictions(first, one, second, other) for (first, one), (second, other) in pairs]
    corrected = holm([one.p for one in found])
    return tuple(one.model_copy(update={"p": p, "tests": len(found)}) for one, p in zip(found, corrected, strict=True))


def disagreement_groups(
    names: tuple[str, str], one: Predictions, other: Predictions, may_show: NDArray[np.bool_]
) -> tuple[DisagreementGroup, ...]:
    """How two models disagree, or err together."""
    same = one.predicted == other.predicted
    sure = np.maximum(np.where(one.wrong, one.confidence, 0), np.where(other.wrong, other.confidence, 0))
    found = {
        "both right": ~one.wrong & ~other.wrong,
        f"only {names[0]} wrong": one.wrong & ~other.wrong,
        f"only {names[1]} wrong": ~one.wrong & other.wrong,
        "both wrong, same answer": one.wrong & other.wrong & same,
        "both wrong, different answers": one.wrong & other.wrong & ~same,
    }
    return tuple(
        DisagreementGroup(
            name=name,
            count=int(which.sum()),
            shown=_most_confident_first(which & (one.wrong | other.wrong), sure, may_show),
        )
        for name, which in found.items()
    )
