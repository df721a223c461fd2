"""Compare how often the arms of a study make the same confusion, that is, predict one label for images of another."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.seed_variance import two_way_comparison
from tasks.analysis.statistics import holm
from tasks.schemas.findings import Estimate
from tasks.schemas.study import Confusion

MAX_CONFUSIONS = 12  # selected by frequency over all arms: selection by difference would favor chance

AnswersBySeed = NDArray[np.integer]  # (seeds, images)


def compare_confusions(
    answers: Mapping[str, AnswersBySeed], labels: NDArray[np.integer], classes: int
) -> tuple[Confusion, ...]:
    """Return the comparison of each of the most frequent confusions for each pair of arms.

    The intervals are over seeds and images, and the p-values are corrected for all tests.
    """
    found = [
        _compare_confusion(pair, answers, labels, label, predicted)
        for pair in combinations(answers, 2)
        for label, predicted in commonest(list(answers.values()), labels, classes)
    ]
    corrected = holm([one.p for one in found])
    return tuple(one.model_copy(update={"p": p}) for one, p in zip(found, corrected, strict=True))


def commonest(answers: Sequence[AnswersBySeed], labels: NDArray[np.integer], classes: int) -> list[tuple[int, int]]:
    """Return the most frequent confusions over all trainings, as (label, predicted).

    Only confusions that occur more than once are included, at most MAX_CONFUSIONS.
    """
    counts = np.zeros(classes * classes, np.int64)
    for given in np.concatenate(answers):
        counts += np.bincount(labels.astype(np.int64) * classes + given, minlength=classes * classes)
    counts[:: classes + 1] = 0  # correct predictions
    order = np.argsort(-counts, kind="stable")[:MAX_CONFUSIONS]
    return [divmod(int(at), classes) for at in order if counts[at] > 1]


def _compare_confusion(
    pair: tuple[str, str], answers: Mapping[str, AnswersBySeed], labels: NDArray[np.integer], label: int, predicted: int
) -> Confusion:
    """Return the comparison of one confusion between two arms, in errors per training."""
    first, second = (answers[name][:, labels == label] != predicted for name in pair)
    images = first.shape[1]
    found = two_way_comparison(first, second)
    fewer = found.over_both
    return Confusion(
        first=pair[0],
        second=pair[1],
        label=label,
        predicted=predicted,
        by_first=float((~first).sum(axis=1).mean()),
        by_second=float((~second).sum(axis=1).mean()),
        difference=Estimate(value=-fewer.value * images, low=-fewer.high * images, high=-fewer.low * images),
        p=found.p,
    )
