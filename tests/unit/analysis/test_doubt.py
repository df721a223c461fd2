"""Test the limits of doubt on simulated predictions, of which the temperature and the errors are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.analysis.doubt import (
    calibrated,
    choose_limits,
    decode_reference,
    encode_reference,
    fit_temperature,
    judge_predictions,
    nearest_distances,
    scale_of,
)
from tasks.analysis.neighbors import Features
from tasks.schemas.doubt import DoubtLimits

COUNT, CLASSES, UNITS = 4000, 3, 4
Simulated = tuple[NDArray[np.float32], Features, NDArray[np.uint8]]


def simulated(seed: int, sharpness: float = 1.0) -> Simulated:
    """Return probabilities of a model that is calibrated at a sharpness of 1, features, and labels."""
    draws = np.random.default_rng(seed)
    logits = draws.normal(0, 3, (COUNT, CLASSES))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) < draws.random((COUNT, 1))).sum(axis=1)
    powers = true**sharpness
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities, features(draws, COUNT), labels.astype(np.uint8)


def features(draws: np.random.Generator, count: int) -> Features:
    return draws.normal(size=(count, UNITS)).astype(np.float32)


REFERENCE = features(np.random.default_rng(9), 500)


def limits_of(seen: Simulated, *, labeled: bool) -> DoubtLimits:
    probabilities, found, labels = seen
    return choose_limits(probabilities, found, REFERENCE, labels if labeled else None, scale=1.0)


@pytest.mark.parametrize("labeled", [True, False])
def test_the_stated_rate_of_false_alarms_holds_for_further_images(labeled: bool) -> None:
    limits = limits_of(simulated(0), labeled=labeled)
    probabilities, found, labels = simulated(1)
    judgments = judge_predictions(probabilities, found, REFERENCE, limits)
    usual = probabilities.argmax(axis=1) == labels if labeled else np.ones(COUNT, bool)
    rate = np.mean([bool(one.doubts) for one, counts in zip(judgments, usual, strict=True) if counts])
    assert limits.false_alarms.low - 0.005 < rate < limits.false_alarms.high + 0.005
    assert 0.02 < limits.false_alarms.value < 0.06


def test_the_rate_is_measured_on_images_that_did_not_determine_the_limits() -> None:
    limits = limits_of(simulated(0), labeled=True)
    assert limits.caught
    assert limits.chosen_on + limits.false_alarms.total + limits.caught.total == COUNT
    assert limits.caught.value > 2 * limits.false_alarms.value


def test_without_labels_every_image_counts_and_the_confidence_is_not_calibrated() -> None:
    limits = limits_of(simulated(0), labeled=False)
    assert (limits.labeled, limits.temperature, limits.caught) == (False, None, None)
    assert limits.false_alarms.total == COUNT - limits.chosen_on
    (judgment, *_) = judge_predictions(*simulated(1)[:2], REFERENCE, limits)
    assert judgment.confidence is None


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(sharpness: float) -> None:
    probabilities, _, labels = simulated(2, sharpness)
    assert fit_temperature(probabilities, labels) == pytest.approx(sharpness, rel=0.1)
    confidence = calibrated(probabilities, sharpness).max(axis=1)
    assert confidence.mean() == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=0.02)


def test_low_confidence_and_a_large_distance_are_doubtful_each_by_itself() -> None:
    limits = limits_of(simulated(0), labeled=True)
    sure, unsure = [0.98, 0.01, 0.01], [0.34, 0.33, 0.33]
    near, far = REFERENCE[0].tolist(), [9.0] * UNITS
    given = np.array([sure, unsure, sure, unsure], np.float32), np.array([near, near, far, far], np.float32)
    assert [one.doubts for one in judge_predictions(*given, REFERENCE, limits)] == [
        (),
        ("low confidence",),
        ("unlike the training images",),
        ("low confidence", "unlike the training images"),
    ]


def test_the_distance_is_that_to_the_nearest_reference_image_however_many_images_there_are() -> None:
    found = features(np.random.default_rng(3), 1100)
    expected = np.linalg.norm(found[:, None].astype(np.float64) - REFERENCE, axis=2).min(axis=1)
    np.testing.assert_allclose(nearest_distances(found, REFERENCE), expected, rtol=1e-6)
    np.testing.assert_allclose(nearest_distances(REFERENCE, REFERENCE), 0, atol=1e-6)
    assert nearest_distances(found[:0], REFERENCE).shape == (0,)


def test_features_are_divided_by_the_scale_before_they_are_compared() -> None:
    limits = limits_of(simulated(0), labeled=True).model_copy(update={"scale": 100.0})
    probabilities, found, _ = simulated(1)
    few = probabilities[:5], found[:5]
    scaled = judge_predictions(few[0], 100 * few[1], REFERENCE, limits)
    plain = judge_predictions(*few, REFERENCE, limits.model_copy(update={"scale": 1.0}))
    assert [one.distance for one in scaled] == pytest.approx([one.distance for one in plain], rel=1e-4)


def test_a_model_that_is_always_wrong_has_limits_and_no_false_alarms() -> None:
    probabilities, found, _ = simulated(0)
    labels = ((probabilities.argmax(axis=1) + 1) % CLASSES).astype(np.uint8)
    limits = choose_limits(probabilities, found, REFERENCE, labels, scale=1.0)
    assert not limits.false_alarms.known
    assert limits.caught
    assert limits.caught.known


def test_the_reference_is_kept_in_sixteen_bits_whatever_the_size_of_the_features() -> None:
    large = np.array([[3e9, -1e9], [0.0, 2e9]], np.float32)
    again = decode_reference(encode_reference(large / np.float32(scale_of(large))))
    assert (again.dtype, again.shape) == (np.float32, (2, 2))
    np.testing.assert_allclose(again * scale_of(large), large, rtol=1e-3)
    assert scale_of(np.zeros((2, 2), np.float32)) == 1.0
