"""Estimate the variance of model comparisons from seed to seed and from one set of test images to another.

The functions are pure. They take which images each training classifies correctly, by seed, and return means,
differences and standard deviations with 95 % confidence intervals.

A difference by seed and image is a crossed design without replication: D(s, i) = m + seed(s) + image(i) + rest(s, i).
The variance components come from the two-way analysis of variance (Searle, Casella and McCulloch 1992, "Variance
components", ch. 4), and the degrees of freedom of their sum from Satterthwaite 1946, Biometrics Bulletin 2: 110. No
component is less than 0, so that the standard error for both sources is at least the standard error for each. With
fewer than seven seeds, the quantile of Student's t falls faster with Satterthwaite's degrees of freedom than the
standard error rises, and the interval for both sources would be narrower than the interval for the seeds alone.
Therefore the widest of the three intervals and the greatest of their p-values are used.
"""

from bisect import bisect_left
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.power import TTestPower

from tasks.analysis.statistics import CONFIDENCE
from tasks.schemas.findings import Estimate
from tasks.schemas.study import ComparisonNoise

_POWER = 0.8
_TAIL = (1 - CONFIDENCE) / 2
_MAX_SEEDS = 100_000  # upper limit of the search for the number of seeds

Right = NDArray[np.bool_]  # (seeds, images)
Floats = NDArray[np.floating]


class TwoWayComparison(NamedTuple):
    """The mean difference with three intervals, the noise of one comparison, and the p-value of no difference.

    The intervals are for other seeds, for other images, and for both.
    """

    over_seeds: Estimate
    over_images: Estimate
    over_both: Estimate
    noise: ComparisonNoise
    p: float


def mean_over_seeds(values: Floats) -> Estimate:
    """Return the mean of (S,) values, S >= 2, with its interval from Student's t distribution.

    Examples:
        Student's t for two degrees of freedom is 4.303, and the standard error is 1 / sqrt(3).

        >>> found = mean_over_seeds(np.array([1.0, 2.0, 3.0]))
        >>> round(found.low, 3), round(found.high, 3)
        (-0.484, 4.484)
    """
    return _interval_around(float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values)), len(values) - 1)


def mean_share(values: Floats) -> Estimate:
    """Return the mean of (S,) shares, as `mean_over_seeds` does, with the interval limited to between 0 and 1."""
    found = mean_over_seeds(values)
    return Estimate(value=found.value, low=max(0.0, found.low), high=min(1.0, found.high))


def seed_deviation(values: Floats) -> Estimate:
    """Return the standard deviation of (S,) values with its interval from the chi-squared distribution."""
    freedom = len(values) - 1
    found = float(values.std(ddof=1))
    low, high = (found * sqrt(freedom / float(stats.chi2.ppf(tail, freedom))) for tail in (1 - _TAIL, _TAIL))
    return Estimate(value=found, low=low, high=high)


def _interval_around(value: float, error: float, freedom: float) -> Estimate:
    """Return a value with Student's t interval, from its standard error and degrees of freedom."""
    half = float(stats.t.ppf(1 - _TAIL, freedom)) * error
    return Estimate(value=value, low=value - half, high=value + half)


def two_way_comparison(first: Right, second: Right) -> TwoWayComparison:
    """Return the second model's accuracy minus the first's, over the same seeds and images.

    Both arrays are (S, N), with S >= 2. A single image allows no conclusion about other images: the intervals over
    images then span all possible differences, and `p` is 1.
    """
    differences = second.astype(np.float64) - first
    seeds, images = differences.shape
    mean = float(differences.mean())
    by_seed, by_image = differences.mean(axis=1), differences.mean(axis=0)
    if images == 1:
        unknown = Estimate(value=mean, low=-1.0, high=1.0)
        noise = ComparisonNoise(
            seeds=float(by_seed.std(ddof=1)), images=1.0, both=1.0
        )  # the maximum: differences lie between -1 and 1
        return TwoWayComparison(
            over_seeds=mean_over_seeds(by_seed), over_images=unknown, over_both=unknown, noise=noise, p=1.0
        )
    rest = differences - by_seed[:, None] - by_image + mean
    squares = {
        "seed": (images * float(by_seed.var(ddof=1)), seeds - 1),
        "image": (seeds * float(by_image.var(ddof=1)), images - 1),
        "rest": (float(np.square(rest).sum()) / ((seeds - 1) * (images - 1)), (seeds - 1) * (images - 1)),
    }
    (of_seed, _), (of_image, _), (of_rest, _) = squares.values()
    # A variance component can't be less than 0, but its estimate can. The same applies to the noise below.
    over_both = max(of_seed + of_image - of_rest, of_seed, of_image) / (seeds * images)
    freedom = satterthwaite(over_both * seeds * images, list(squares.values()))
    tests = (  # standard errors of the mean with their degrees of freedom
        (sqrt(of_seed / (seeds * images)), seeds - 1),
        (sqrt(of_image / (seeds * images)), images - 1),
        (sqrt(over_both), freedom),
    )
    over_seeds, over_images, together = (_interval_around(mean, *test) for test in tests)
    of_one = float(differences.var(axis=1, ddof=1).mean()) / images  # variance of one comparison over test images
    return TwoWayComparison(
        over_seeds=over_seeds,
        over_images=over_images,
        over_both=max((over_seeds, over_images, together), key=lambda one: one.high - one.low),
        noise=ComparisonNoise(
            seeds=sqrt(of_seed / images),
            images=sqrt(of_one),
            both=sqrt(max((of_seed - of_rest) / images + of_one, of_seed / images, of_one)),
        ),
        p=max((2 * float(stats.t.sf(abs(mean) / error, freedom)) for error, freedom in tests if error), default=1.0),
    )


def satterthwaite(total: float, squares: list[tuple[float, int]]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of mean squares, each given with its degrees of freedom."""
    spread = sum(square**2 / freedom for square, freedom in squares)
    return max(1.0, total**2 / spread) if spread else 1.0


def seeds_needed(difference: float, noise: ComparisonNoise) -> int | None:
    """Return the number of seeds per arm with which a paired t-test detects a difference with a power of 80 %.

    The result is None if no number up to the maximum is sufficient.
    """
    if not difference:
        return None
    if not noise.seeds:
        return 2
    effect = abs(difference) / noise.seeds
    counts = range(2, _MAX_SEEDS)
    # Not `solve_power`, whose root finder gives up on small effects.
    at = bisect_left(counts, _POWER, key=lambda count: TTestPower().power(effect, count, 1 - CONFIDENCE))
    return counts[at] if at < len(counts) else None


def wrong_by(right: Right) -> tuple[int, ...]:
    """Return the number of images that exactly 0, 1, 2, ... of the seeds misclassify."""
    seeds, _ = right.shape
    return tuple(np.bincount((~right).sum(axis=0), minlength=seeds + 1).tolist())
