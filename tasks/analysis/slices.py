"""Compare a model's errors on slices of the images, that is, on images with similar values of a measured feature."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.analysis.confusion_analysis import errors_where
from tasks.analysis.statistics import fisher_p, holm
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.findings import Slice

_PARTS = 5  # slices with equal numbers of images, as far as ties allow
_FEW = 5  # up to this number of distinct values, each value is a slice
_MAX_COMPONENTS = 4  # images with this number of components or more form one slice


def compare_slices(measured: pd.DataFrame, predictions: Sequence[Predictions]) -> tuple[Slice, ...]:
    """Return every slice of every feature, with p-values corrected for all tests of all models together."""
    found = [
        _raw_slice(*part, predictions)
        for feature in measured.columns
        for part in _slice_masks(feature, measured[feature])
    ]
    corrected = iter(holm([p for one in found for p in one.p]))
    return tuple(one.model_copy(update={"p": tuple(next(corrected) for _ in one.p)}) for one in found)


def _slice_masks(feature: str, values: "pd.Series[float]") -> Iterator[tuple[str, NDArray[np.bool_], float, float]]:
    """Split the images by one feature.

    Yields:
        The feature, the (N,) bool mask of a slice, and the minimum and maximum of the feature in the slice.
    """
    codes = _codes_of(values.clip(upper=_MAX_COMPONENTS) if feature == "components" else values)
    for code in sorted(codes.unique()):
        inside = (codes == code).to_numpy()
        yield feature, inside, float(values[inside].min()), float(values[inside].max())


def _codes_of(values: "pd.Series[float]") -> "pd.Series[float]":
    """Return the number of the slice that each value belongs to."""
    if values.nunique() <= _FEW:
        return values
    codes: pd.Series[float] = pd.qcut(values, _PARTS, labels=False, duplicates="drop")
    # If nearly all values are equal, such as the height of MNIST's digits: below, at and above the most frequent value.
    return codes if codes.nunique() > 1 else (values - values.mode()[0]).clip(-1, 1)


def _raw_slice(
    feature: str, inside: NDArray[np.bool_], low: float, high: float, predictions: Sequence[Predictions]
) -> Slice:
    """Return one slice, with uncorrected p-values."""
    errors, elsewhere = ([errors_where(p, mask) for p in predictions] for mask in (inside, ~inside))
    return Slice(
        feature=feature,
        low=low,
        high=high,
        errors=tuple(errors),
        elsewhere=tuple(elsewhere),
        p=tuple(fisher_p(*pair) for pair in zip(errors, elsewhere, strict=True)),
    )
