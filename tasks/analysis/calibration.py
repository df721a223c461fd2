"""Measure the calibration of a model: log-loss, Brier score, expected calibration error and reliability diagram."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from tasks.analysis.statistics import CONFIDENCE, mean_estimate, share_estimate
from tasks.data.predictions_parquet import LARGEST_LOSS, Predictions
from tasks.schemas.findings import Bin, Calibration, Estimate

_BINS = 15  # of equal width, as in Guo et al. 2017
_RESAMPLES = 999
_RESAMPLES_AT_ONCE = 50  # about 10 MB of memory for 10,000 images in 15 bins


def calibration(predictions: Predictions) -> Calibration:
    """Return all calibration metrics of one model."""
    return Calibration(
        log_loss=mean_estimate(predictions.losses, 0.0, LARGEST_LOSS),
        brier=mean_estimate(brier_scores(predictions), 0.0, 2.0),
        expected_error=expected_calibration_error(predictions),
        bins=tuple(bins(predictions)),
    )


def brier_scores(predictions: Predictions) -> NDArray[np.float64]:
    """Return the Brier score of each image, (N,).

    The score is the squared distance between the probabilities and the one-hot label, from 0 to 2.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78: 1.
    """
    distances = predictions.probabilities.astype(np.float64)
    distances[np.arange(len(distances)), predictions.labels] -= 1
    return np.asarray(np.square(distances).sum(axis=1))


def _bin_of(predictions: Predictions) -> NDArray[np.int64]:
    """Return the bin of each image's confidence, (N,).

    Bin b holds the interval (b / _BINS, (b + 1) / _BINS].
    """
    return np.clip(np.ceil(predictions.confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)


def expected_calibration_error(predictions: Predictions) -> Estimate:
    """Return the expected calibration error with its confidence interval.

    The error is the absolute difference between confidence and accuracy in each bin, averaged over the bins with the
    number of images as weight. The interval is a percentile bootstrap interval over images.

    Source: Guo et al. 2017, "On calibration of modern neural networks", ICML, eq. 3.
    """
    gaps = ~predictions.wrong - predictions.confidence

    def error(gaps: NDArray[np.float64], places: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        gaps, places = np.moveaxis(gaps, axis, -1), np.moveaxis(places, axis, -1)  # (..., N): resamples of N images
        resample = np.arange(gaps[..., 0].size).reshape(gaps.shape[:-1])[..., None]
        sums = np.bincount((_BINS * resample + places).ravel(), gaps.ravel(), _BINS * resample.size)
        return np.asarray(np.abs(sums.reshape(*gaps.shape[:-1], _BINS)).sum(axis=-1) / gaps.shape[-1])

    places = _bin_of(predictions)
    value = float(error(gaps, places))
    if len(gaps) < 2:
        return Estimate(value=value, low=0.0, high=1.0)
    found = bootstrap(
        (gaps, places),
        error,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        batch=_RESAMPLES_AT_ONCE,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),  # a fixed seed: the same predictions give the same report
    )
    return Estimate(value=value, low=float(found.confidence_interval.low), high=float(found.confidence_interval.high))


def bins(predictions: Predictions) -> list[Bin]:
    """Return the bins of the reliability diagram that hold at least one image."""
    places, confidence, right = _bin_of(predictions), predictions.confidence, ~predictions.wrong
    return [
        Bin(
            low=place / _BINS,
            high=(place + 1) / _BINS,
            confidence=float(confidence[places == place].mean()),
            right=share_estimate(int(right[places == place].sum()), int((places == place).sum())),
        )
        for place in np.unique(places).tolist()
    ]
