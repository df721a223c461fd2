"""Estimate shares, means and differences with 95 % confidence intervals, and test differences.

All functions are pure; scipy and statsmodels do the work where they have the method.
"""
# ruff: noqa: PLC0415  # statsmodels imports pandas, which takes a second that a training's process does not need

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, fisher_exact, norm

from tasks.data.predictions_parquet import LARGEST_LOSS, Predictions
from tasks.schemas.findings import Comparison, Estimate, Share

CONFIDENCE = 0.95
_Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def share_estimate(count: int, total: int) -> Share:
    """Return a share with its Wilson score interval, as scipy computes it.

    Source: Wilson 1927, "Probable inference", JASA 22: 209.

    Examples:
        From table I, method 3, in Newcombe 1998, "Two-sided confidence intervals for the single proportion":

        >>> share = share_estimate(81, 263)
        >>> round(share.value, 4), round(share.low, 4), round(share.high, 4)
        (0.308, 0.2553, 0.3662)
    """
    if not total:
        return Share(count=0, total=0, low=0.0, high=1.0)
    interval = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count=count, total=total, low=float(interval.low), high=float(interval.high))


def mean_estimate(values: NDArray[np.floating], minimum: float, maximum: float) -> Estimate:
    """Return the mean of (N,) values with its confidence interval from the normal approximation.

    A single value gives no variance: its interval is the whole possible range, from `minimum` to `maximum`.
    """
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value=value, low=minimum, high=maximum)
    half = _Z * float(values.std(ddof=1)) / sqrt(len(values))
    return Estimate(value=value, low=value - half, high=value + half)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, as statsmodels computes it.

    Source: McNemar 1947, Psychometrika 12: 153.

    Examples:
        Only the first model classifies one image correctly, and only the second nine others. The p-value is twice the
        probability of at most one head in ten tosses of a coin, 22 / 1024.

        >>> round(mcnemar_p(1, 9), 6)
        0.021484
    """
    from statsmodels.stats.contingency_tables import mcnemar

    return float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> Estimate:
    """Return the difference of two paired shares, second minus first, with Newcombe's interval.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17: 2635, method 10. statsmodels 0.15 does not have it.

    Examples:
        Two models classify 92 and 95 of the same 100 images correctly. For two samples of images, the interval would be
        wider.

        >>> paired_difference(90, 2, 5, 3).points
        '+3.00 points (95 % interval -3.02 to +9.55)'
        >>> difference_of(share_estimate(92, 100), share_estimate(95, 100)).points
        '+3.00 points (95 % interval -4.30 to +10.55)'
    """
    total = both + only_first + only_second + neither
    if not total:
        return Estimate(value=0.0, low=-1.0, high=1.0)
    first, second = share_estimate(both + only_first, total), share_estimate(both + only_second, total)
    return difference_of(first, second, _paired_correlation(both, only_first, only_second, neither))


def difference_of(first: Share, second: Share, phi: float = 0.0) -> Estimate:
    """Return the difference of two shares, second minus first, with Newcombe's interval for the correlation `phi`.

    With a correlation of 0, the interval is the one for independent shares (Newcombe 1998, Statistics in Medicine 17:
    873, method 10). That interval is too wide for two models that misclassify the same images.
    """
    difference = second.value - first.value
    below = _spread(second.value - second.low, first.high - first.value, phi)
    above = _spread(second.high - second.value, first.value - first.low, phi)
    return Estimate(value=difference, low=difference - below, high=difference + above)


def _paired_correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return the correlation of two paired shares.

    A positive correlation is corrected for continuity (Newcombe 1998).
    """
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    product = both * neither - only_first * only_second
    corrected = product if product <= 0 else max(product - (both + only_first + only_second + neither) / 2, 0)
    return corrected / sqrt(margins) if margins else 0.0


def _spread(one: float, other: float, phi: float) -> float:
    """Return the half-width of a difference, from the half-widths of its two shares and their correlation."""
    return sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def compare_predictions(first: str, one: Predictions, second: str, other: Predictions) -> Comparison:
    """Compare the predictions `one` and `other` of two models for the same images in the same order.

    `first` and `second` are the names of the models.
    """
    counts = {
        "both_right": int((~one.wrong & ~other.wrong).sum()),
        "only_first": int((~one.wrong & other.wrong).sum()),
        "only_second": int((one.wrong & ~other.wrong).sum()),
        "both_wrong": int((one.wrong & other.wrong).sum()),
    }
    return Comparison(
        first=first,
        second=second,
        **counts,
        same_wrong=int((one.wrong & (one.predicted == other.predicted)).sum()),
        difference=paired_difference(*counts.values()),
        loss=mean_estimate(other.losses - one.losses, -LARGEST_LOSS, LARGEST_LOSS),
        p=mcnemar_p(counts["only_first"], counts["only_second"]),
    )


def fisher_p(inside: Share, outside: Share) -> float:
    """Return the two-sided p-value of Fisher's exact test for the hypothesis that two shares are equal.

    Source: Fisher 1935.
    """
    table = [[inside.count, inside.total - inside.count], [outside.count, outside.total - outside.count]]
    return float(fisher_exact(table).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return the p-values, corrected for their number by Holm's method, as statsmodels computes it.

    Source: Holm 1979, Scandinavian Journal of Statistics 6: 65.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(values, method="holm")[1]] if values else []
