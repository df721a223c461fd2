"""Suspects: images whose label may be wrong. Never called errors: only a person who looks can say so.

In: the predictions of all models for one split. Out: its Suspects: those that all models name, beside those of cleanlab.
"""

import warnings
from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from tasks.analysis.image_cards import MOST_CARDS
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.findings import LabelIssue, LabelIssuePattern, LabelIssues

_SURE = 0.9  # of each model's probability, to count as sure


def label_issues_of(
    split: str, given: Sequence[Predictions], may_show: Container[int] | None = None, *, most: int = MOST_CARDS
) -> LabelIssues:
    """The images that all models are sure about, agree about, and have labelled otherwise, the surest first.

    Beside them what cleanlab finds from the mean of the same probabilities: confident learning (Northcutt et al. 2021, JAIR
    70: 1373), as its `find_label_issues` does it by default. Up to `most` are shown; with `may_show`, only
    those images.
    """
    named = _agreed(given)
    labels, probabilities = given[0].labels.astype(np.int64), np.mean([p.probabilities for p in given], axis=0)
    issues = _cleanlab_issues(labels, probabilities)
    found, quality = issues or (np.zeros(len(labels), bool), np.zeros(len(labels)))
    sure = np.min([p.confidence for p in given], axis=0)
    ordered = np.flatnonzero(named | found)
    # First those that the models name, the surest before; then those of cleanlab alone, the worst before.
    ordered = ordered[np.lexsort((quality[ordered], -sure[ordered], ~named[ordered]))]
    shown = [index for index in ordered.tolist() if may_show is None or index in may_show][:most]
    patterns = Counter(zip(labels[named].tolist(), given[0].predicted[named].tolist(), strict=True))
    return LabelIssues(
        split=split,
        total=len(labels),
        named=int(named.sum()),
        by_cleanlab=int(found.sum()) if issues else None,
        by_both=int((named & found).sum()) if issues else None,
        patterns=tuple(
            LabelIssuePattern(label=label, said=said, count=count)
            for (label, said), count in sorted(patterns.items(), key=lambda item: (-item[1], item[0]))
        ),
        shown=tuple(
            LabelIssue(
                index=index,
                label=int(labels[index]),
                said=int(probabilities[index].argmax()),
                probabilities=tuple(float(p.probabilities[index].max()) for p in given),
                named=bool(named[index]),
                cleanlab=bool(found[index]),
                quality=float(quality[index]) if issues else None,
            )
            for index in shown
        ),
    )


def _cleanlab_issues(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.floating]] | None:
    """Which images cleanlab names, (N,), and its score of each label, (N,); None where all labels are the same."""
    if len(np.unique(labels)) < 2:
        return None
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # that it leaves alone classes of few images
        found = find_label_issues(labels, probabilities, n_jobs=1)
    return found, get_label_quality_scores(labels, probabilities)


def _agreed(given: Sequence[Predictions]) -> NDArray[np.bool_]:
    """Which images all models are sure about, agree about, and find labelled otherwise: (N,)."""
    first = given[0]
    same = np.all([p.predicted == first.predicted for p in given], axis=0)
    sure = np.all([p.confidence >= _SURE for p in given], axis=0)
    return np.asarray(first.wrong & same & sure)
