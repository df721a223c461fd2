"""Compare the statistics of many seeds with known cases, and with simulations."""

import numpy as np
import pytest
from numpy.typing import NDArray
from statsmodels.stats.power import TTestPower

from tasks.analysis.seed_variance import (
    mean_over_seeds,
    mean_share,
    satterthwaite,
    seed_deviation,
    seeds_needed,
    two_way_comparison,
    wrong_by,
)
from tasks.schemas.study import ComparisonNoise


def drawn(rng: np.random.Generator, seeds: int, images: int, gain: float = 0.0) -> NDArray[np.bool_]:
    """Simulate correct predictions: some images are harder than others, and some seeds are better."""
    hard, luck = rng.normal(2.0, 1.0, images), rng.normal(0, 0.15, (seeds, 1))
    return np.asarray(rng.normal(0, 0.5, (seeds, images)) < hard + luck + gain)


def test_a_mean_has_students_interval() -> None:
    found = mean_over_seeds(np.array([1.0, 2.0, 3.0]))
    assert found.value == 2
    assert (found.low, found.high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))


def test_the_interval_of_a_share_ends_at_0_and_1() -> None:
    assert mean_share(np.array([0.9514, 0.9616])).high == 1
    assert mean_share(np.array([0.01, 0.03])).low == 0
    assert mean_share(np.array([0.5, 0.51])) == mean_over_seeds(np.array([0.5, 0.51]))


def test_a_deviation_has_the_chi_squared_interval() -> None:
    found = seed_deviation(np.array([-1.0, 1.0] * 5) * (9 / 10) ** 0.5)
    assert found.value == pytest.approx(1)
    assert (found.low, found.high) == pytest.approx((0.68784, 1.82562), abs=1e-4)  # chi-square table, 9 degrees


def test_seeds_that_all_answer_alike_leave_the_chance_of_the_images() -> None:
    first = np.repeat(np.arange(100)[None] >= 10, 4, axis=0)
    second = np.repeat(np.arange(100)[None] >= 4, 4, axis=0)
    found = two_way_comparison(first, second)
    assert found.over_seeds.value == found.over_seeds.low == found.over_seeds.high == pytest.approx(0.06)
    assert found.over_both.value == pytest.approx(0.06)
    assert found.over_both.high - found.over_both.low == pytest.approx(
        found.over_images.high - found.over_images.low, rel=0.01
    )
    assert found.noise.seeds == 0
    assert found.noise.both == pytest.approx(found.noise.images)


def test_two_arms_with_equal_predictions_do_not_differ() -> None:
    right = drawn(np.random.default_rng(0), 3, 200)
    found = two_way_comparison(right, right)
    assert (found.over_both.value, found.over_both.low, found.over_both.high, found.p) == (0, 0, 0, 1)


def test_the_components_are_those_of_the_analysis_of_variance() -> None:
    first, second = (drawn(np.random.default_rng(seed), 5, 300) for seed in (1, 2))
    differences = second.astype(float) - first
    found = two_way_comparison(first, second)
    by_seed = differences.mean(axis=1)
    assert found.noise.seeds == pytest.approx(by_seed.std(ddof=1))
    residual = differences - by_seed[:, None] - differences.mean(axis=0) + differences.mean()
    total = (
        300 * by_seed.var(ddof=1) + 5 * differences.mean(axis=0).var(ddof=1) - (residual**2).sum() / (4 * 299)
    ) / 1500
    half = (found.over_both.high - found.over_both.low) / 2
    assert half >= 1.96 * total**0.5


@pytest.mark.parametrize("seeds", [2, 3, 5, 7])
def test_the_interval_for_both_is_at_least_as_wide_as_either_and_agrees_with_its_p_value(seeds: int) -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        found = two_way_comparison(*fresh(rng, seeds))
        low, high = found.over_both.low, found.over_both.high
        for alone in (found.over_seeds, found.over_images):
            assert low <= alone.low + 1e-12
            assert high >= alone.high - 1e-12
        assert (found.p < 0.05) == (low > 0 or high < 0)
        assert found.noise.both >= max(found.noise.seeds, found.noise.images) - 1e-12


def test_the_interval_for_both_from_two_seeds_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    truth = drawn(rng, 300, 20_000, 0.1).mean() - drawn(rng, 300, 20_000).mean()
    trials = [two_way_comparison(*fresh(rng, 2)).over_both for _ in range(400)]
    assert sum(found.low <= truth <= found.high for found in trials) / 400 >= 0.94  # for the sum only, 0.91


def test_the_interval_for_both_holds_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(3)
    truth = drawn(rng, 300, 20_000, 0.1).mean() - drawn(rng, 300, 20_000).mean()
    trials = [two_way_comparison(*fresh(rng)).over_both for _ in range(300)]
    held = sum(found.low <= truth <= found.high for found in trials)
    assert 0.91 <= held / 300 <= 1


def fresh(rng: np.random.Generator, seeds: int = 6) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Simulate two arms on the same new images, with new seeds."""
    hard = rng.normal(2.0, 1.0, 400)
    first, second = (
        np.asarray(rng.normal(0, 0.5, (seeds, 400)) < hard + rng.normal(0, 0.15, (seeds, 1)) + gain)
        for gain in (0.0, 0.1)
    )
    return first, second


def test_more_seeds_are_needed_for_a_smaller_difference() -> None:
    noise = ComparisonNoise(seeds=0.001, images=0.001, both=0.0014)
    assert seeds_needed(0.001, noise) == 10  # power table: effect 1, paired, two-sided 5 %, power 80 %
    assert seeds_needed(-0.001, noise) == 10
    assert TTestPower().power(0.5, seeds_needed(0.0005, noise), 0.05) >= 0.8
    assert seeds_needed(1, noise) == 2
    assert seeds_needed(0, noise) is None
    assert seeds_needed(1e-9, noise) is None
    assert seeds_needed(0.001, noise.model_copy(update={"seeds": 0.0})) == 2


def test_images_are_counted_by_how_many_seeds_are_wrong() -> None:
    right = np.array([[True, True, False, False], [True, False, False, True], [True, True, False, True]])
    assert wrong_by(right) == (1, 2, 0, 1)


def test_one_mean_square_keeps_its_degrees_of_freedom() -> None:
    assert satterthwaite(2.0, [(2.0, 7)]) == pytest.approx(7)
    assert satterthwaite(0.0, [(0.0, 7)]) == 1


def test_a_single_image_proves_nothing_of_others() -> None:
    found = two_way_comparison(np.array([[True], [False], [False]]), np.array([[True], [True], [True]]))
    assert found.over_seeds == mean_over_seeds(np.array([0.0, 1.0, 1.0]))
    for over in (found.over_images, found.over_both):
        assert (over.value, over.low, over.high) == (pytest.approx(2 / 3), -1, 1)
    assert (found.p, found.noise.seeds) == (1, pytest.approx((1 / 3) ** 0.5))
