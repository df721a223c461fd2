"""Slices: images that are alike in something that can be measured on them, and whether a model fails on them more often.

In: the features of all images, and the predictions of all models. Out: slices with errors, intervals and corrected tests.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.analysis.confusion_analysis import errors_where
from tasks.analysis.statistics import fisher_p, holm
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.findings import Slice

_PARTS = 5  # of equal numbers of images, as far as equal values allow
_FEW = 5  # up to as many different values, each is a slice of its own
_MOST_COMPONENTS = 4  # as many pieces or more are one slice


def compare_slices(measured: pd.DataFrame, given: Sequence[Predictions]) -> tuple[Slice, ...]:
    """Every slice of every feature; their p-values are corrected for all tests of all models together."""
    found = [
        _raw_slice(*part, given) for feature in measured.columns for part in _slice_masks(feature, measured[feature])
    ]
    corrected = iter(holm([p for one in found for p in one.p]))
    return tuple(one.model_copy(update={"p": tuple(next(corrected) for _ in one.p)}) for one in found)


def _slice_masks(feature: str, values: "pd.Series[float]") -> Iterator[tuple[str, NDArray[np.bool_], float, float]]:
    """Cut the images by one feature: the feature, which images (N,), and the least and greatest value among them."""
    codes = _codes_of(values.clip(upper=_MOST_COMPONENTS) if feature == "components" else values)
    for code in sorted(codes.unique()):
        inside = (codes == code).to_numpy()
        yield feature, inside, float(values[inside].min()), float(values[inside].max())


def _codes_of(values: "pd.Series[float]") -> "pd.Series[float]":
    """The number of the part that each value belongs to."""
    if values.nunique() <= _FEW:
        return values
    codes: pd.Series[float] = pd.qcut(values, _PARTS, labels=False, duplicates="drop")
    # Where nearly all values are the same, as the height of MNIST's digits: what is below that value, it, and what is above.
    return codes if codes.nunique() > 1 else (values - values.mode()[0]).clip(-1, 1)


def _raw_slice(feature: str, inside: NDArray[np.bool_], low: float, high: float, given: Sequence[Predictions]) -> Slice:
    """One slice, its p-values not yet corrected."""
    errors, elsewhere = ([errors_where(p, which) for p in given] for which in (inside, ~inside))
    return Slice(
        feature=feature,
        low=low,
        high=high,
        errors=tuple(errors),
        elsewhere=tuple(elsewhere),
        p=tuple(fisher_p(*pair) for pair in zip(errors, elsewhere, strict=True)),
    )
