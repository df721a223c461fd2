import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from tasks.analysis.calibration import bins, brier_scores, calibration, expected_calibration_error
from tasks.data.predictions_parquet import Predictions, PredictionsMeta
from tests.support.samples import FIRST, hashes


def binary(confidence: list[float], right: list[bool]) -> Predictions:
    """Return predictions of two classes, always class 0, with these probabilities; correct or incorrect as given."""
    sure = np.array(confidence, np.float32)
    return Predictions(
        meta=PredictionsMeta(model="m", model_sha256="0"),
        labels=np.array([0 if one else 1 for one in right], np.uint8),
        predicted=np.zeros(len(right), np.uint8),
        probabilities=np.stack([sure, 1 - sure], axis=1),
        sha256=hashes([0] * len(right)),
    )


def test_the_brier_score_is_that_of_briers_own_example() -> None:
    # Brier (1950), table 1: ten forecasts of rain, at 0.7 0.9 0.8 0.4 0.2 0 0 0 0 0.1, of which the second,
    # third and fourth were followed by rain; P = 0.19 over both classes.
    rain = np.array([0.7, 0.9, 0.8, 0.4, 0.2, 0, 0, 0, 0, 0.1], np.float32)
    happened = np.array([0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    probabilities = np.stack([rain, 1 - rain], axis=1)
    predictions = binary([0.5] * 10, [True] * 10).model_copy(
        update={"probabilities": probabilities, "labels": (1 - happened).astype(np.uint8)}
    )
    assert brier_scores(predictions).mean() == pytest.approx(0.19, abs=1e-6)


def test_log_loss_and_brier_score_agree_with_scikit_learn() -> None:
    found = calibration(FIRST)
    probabilities = FIRST.probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert found.log_loss.value == pytest.approx(log_loss(FIRST.labels, probabilities), rel=1e-6)
    # For more than two classes, scikit-learn does not halve Brier's sum.
    assert found.brier.value == pytest.approx(brier_score_loss(FIRST.labels, probabilities), rel=1e-6)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    # 4 answers at 0.95, 3 right: gap 0.2. 6 answers at 0.61, 3 right: gap 0.11. (4 x 0.2 + 6 x 0.11) / 10.
    predictions = binary([0.95] * 4 + [0.61] * 6, [True] * 3 + [False] + [True] * 3 + [False] * 3)
    found = expected_calibration_error(predictions)
    assert found.value == pytest.approx(0.146, abs=1e-6)
    assert found.low <= found.value <= found.high
    assert [(one.right.count, one.right.total) for one in bins(predictions)] == [(3, 6), (3, 4)]


def test_bins_hold_every_answer_and_name_their_mean_probability() -> None:
    found = bins(FIRST)
    assert sum(one.right.total for one in found) == 6
    assert sum(one.right.count for one in found) == 2
    assert all(one.low <= one.confidence <= one.high + 1e-6 for one in found)


def test_the_same_predictions_give_the_same_interval() -> None:
    assert calibration(FIRST) == calibration(FIRST)
