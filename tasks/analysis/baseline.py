"""Check that a model is better than a classifier that always predicts the most frequent label.

The two are paired by image and compared by the exact sign test, one-sided at 5 % (Conover 1999, "Practical
nonparametric statistics", section 3.4).
"""

import numpy as np

from tasks.data.predictions_parquet import Predictions
from tasks.schemas.analysis import Check
from tasks.schemas.findings import SIGNIFICANT

_NAME = "significantly better than the most frequent class"


def better_than_most_frequent(predictions: Predictions) -> Check:
    """Check whether a model is significantly better than always predicting the most frequent test label."""
    from scipy.stats import binomtest  # noqa: PLC0415  # scipy takes a second to import, and few processes need it

    counts = np.bincount(predictions.labels)
    if counts.max() == len(predictions.labels):
        return Check(name=_NAME, passed=False, found="all test images have the same label, so no model can be better")
    frequent = predictions.labels == counts.argmax()
    better, worse = int((~predictions.wrong & ~frequent).sum()), int((predictions.wrong & frequent).sum())
    p = float(binomtest(better, better + worse, 0.5, alternative="greater").pvalue) if better + worse else 1.0
    p_text = f"p = {p:.2g}" if p >= 0.0001 else "p < 0.0001"
    return Check(
        name=_NAME,
        passed=p < SIGNIFICANT,
        found=f"{predictions.accuracy:.2%} against {frequent.mean():.2%}, {p_text}".replace("%", " %"),
    )
