import numpy as np
import pytest

from tasks.analysis.seed_confusions import MAX_CONFUSIONS, commonest, compare_confusions

LABELS = np.repeat(np.arange(3, dtype=np.uint8), 200)


def answers(seed: int, often: float, seeds: int = 6) -> np.ndarray:
    """Return predictions that confuse 1 with 2 with the given probability, and 0 with 1 in 2 % of the images."""
    draws = np.random.default_rng(seed)
    given = np.tile(LABELS, (seeds, 1))
    given[(draws.random(given.shape) < often) & (given == 1)] = 2
    given[(draws.random(given.shape) < 0.02) & (LABELS == 0)] = 1
    return given


def test_a_confusion_that_became_rarer_differs_and_an_unchanged_confusion_does_not() -> None:
    found = compare_confusions({"before": answers(1, 0.1), "now": answers(2, 0.02)}, LABELS, 3)
    gone, stayed = found
    assert (gone.label, gone.predicted) == (1, 2)
    assert gone.by_first == pytest.approx(20, abs=3)
    assert gone.by_second == pytest.approx(4, abs=2)
    assert gone.difference.value == pytest.approx(gone.by_second - gone.by_first)
    assert gone.difference.low < gone.difference.value < gone.difference.high < 0
    assert gone.p < 0.001
    assert (stayed.label, stayed.predicted) == (0, 1)
    assert stayed.difference.low < 0 < stayed.difference.high
    assert stayed.p > 0.05


def test_p_values_are_corrected_for_all_that_are_looked_at() -> None:
    alone = compare_confusions({"a": answers(1, 0.1), "b": answers(2, 0.07)}, LABELS, 3)
    among = compare_confusions({"a": answers(1, 0.1), "b": answers(2, 0.07), "c": answers(3, 0.07)}, LABELS, 3)
    assert len(among) == 3 * len(alone)
    assert among[0].p > alone[0].p


def test_only_the_most_frequent_confusions_are_compared_and_correct_predictions_are_excluded() -> None:
    given = np.stack([(LABELS + 1) % 3, LABELS])
    assert commonest([given], LABELS, 3) == [(0, 1), (1, 2), (2, 0)]
    many = np.arange(20).repeat(5)
    assert len(commonest([np.stack([np.roll(many, 5), np.roll(many, 10)])], many, 20)) == MAX_CONFUSIONS


def test_one_arm_has_nothing_to_differ_from() -> None:
    assert compare_confusions({"alone": answers(1, 0.1)}, LABELS, 3) == ()


def test_a_class_with_one_image_is_compared_without_significance() -> None:
    labels = np.append(LABELS, 3)
    wrong, right = (np.tile(np.append(LABELS, last), (4, 1)) for last in (0, 3))
    (found,) = compare_confusions({"before": wrong, "now": right}, labels, 4)
    assert (found.label, found.predicted, found.by_first, found.by_second, found.p) == (3, 0, 1, 0, 1)
    assert (found.difference.value, found.difference.low, found.difference.high) == (-1, -1, 1)
