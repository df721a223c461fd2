"""Find images whose label may be wrong.

The two sources are images for which all models confidently agree on another label, and cleanlab. The findings are
called label issues rather than errors, because only a person who looks at an image can confirm that its label is wrong.
"""

import warnings
from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray

from tasks.analysis.image_cards import MAX_CARDS
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.findings import LabelIssue, LabelIssuePattern, LabelIssues

_MIN_CONFIDENCE = 0.9  # minimum probability of each model's prediction


def label_issues_of(
    split: str,
    predictions: Sequence[Predictions],
    may_show: Container[int] | None = None,
    *,
    max_images: int = MAX_CARDS,
) -> LabelIssues:
    """Return the label issues of a split.

    The models name an image if all of them confidently predict the same label and it differs from the image's label.
    cleanlab names images by confident learning on the mean of the models' probabilities, with the default settings of
    its `find_label_issues` (Northcutt et al. 2021, JAIR 70: 1373). The images that the models name are shown first.

    Args:
        split: Name of the split.
        predictions: Predictions of all models for the split.
        may_show: Indices of the images that may be shown; all if None.
        max_images: Maximum number of images to show.
    """
    by_models = _agreed(predictions)
    labels, probabilities = (
        predictions[0].labels.astype(np.int64),
        np.mean([p.probabilities for p in predictions], axis=0),
    )
    issues = _cleanlab_issues(labels, probabilities)
    found, quality = issues or (np.zeros(len(labels), bool), np.zeros(len(labels)))
    confidence = np.min([p.confidence for p in predictions], axis=0)
    ordered = np.flatnonzero(by_models | found)
    # The images that the models name, then those that only cleanlab names: each by confidence, then by lowest quality.
    ordered = ordered[np.lexsort((quality[ordered], -confidence[ordered], ~by_models[ordered]))]
    shown = [index for index in ordered.tolist() if may_show is None or index in may_show][:max_images]
    patterns = Counter(zip(labels[by_models].tolist(), predictions[0].predicted[by_models].tolist(), strict=True))
    return LabelIssues(
        split=split,
        total=len(labels),
        by_models=int(by_models.sum()),
        by_cleanlab=int(found.sum()) if issues else None,
        by_both=int((by_models & found).sum()) if issues else None,
        patterns=tuple(
            LabelIssuePattern(label=label, predicted=predicted, count=count)
            for (label, predicted), count in sorted(patterns.items(), key=lambda item: (-item[1], item[0]))
        ),
        shown=tuple(
            LabelIssue(
                index=index,
                label=int(labels[index]),
                predicted=int(probabilities[index].argmax()),
                probabilities=tuple(float(p.probabilities[index].max()) for p in predictions),
                by_models=bool(by_models[index]),
                by_cleanlab=bool(found[index]),
                quality=float(quality[index]) if issues else None,
            )
            for index in shown
        ),
    )


def _cleanlab_issues(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.floating]] | None:
    """Return which images cleanlab names, (N,), and its quality score of each label, (N,).

    The result is None if all labels are the same.
    """
    if len(np.unique(labels)) < 2:
        return None
    # cleanlab warns that it skips classes with few images
    with warnings.catch_warnings(category=UserWarning, action="ignore"):
        found = find_label_issues(labels, probabilities, n_jobs=1)
    return found, get_label_quality_scores(labels, probabilities)


def _agreed(predictions: Sequence[Predictions]) -> NDArray[np.bool_]:
    """Return the images for which all models confidently predict the same label and this label is wrong, (N,) bool."""
    first = predictions[0]
    same = np.all([p.predicted == first.predicted for p in predictions], axis=0)
    confident = np.all([p.confidence >= _MIN_CONFIDENCE for p in predictions], axis=0)
    return np.asarray(first.wrong & same & confident)
