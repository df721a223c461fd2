import numpy as np
import pytest
from scipy.stats import binom

from tasks.analysis.baseline import better_than_most_frequent
from tasks.data.predictions_parquet import Predictions
from tests.support.samples import predicted, split_of

LABELS = [0] * 60 + [1] * 30 + [2] * 10


def answering(answers: list[int], labels: list[int] = LABELS) -> Predictions:
    return predicted(split_of(labels), answers, [0.9] * len(labels))


@pytest.mark.parametrize("always", [0, 1, 2])
def test_a_model_that_always_answers_the_same_does_not_pass(always: int) -> None:
    check = better_than_most_frequent(answering([always] * 100))
    assert not check.passed
    assert f"{LABELS.count(always)}.00 % against 60.00 %" in check.found


def test_a_model_passes_if_the_sign_test_is_significant() -> None:
    """Of the images that only one of the two classifies correctly, the model has k: five of five suffice, four do not."""
    for count, passed in ((4, False), (5, True)):
        assert float(binom.sf(count - 1, count, 0.5)) < 0.05 or not passed
        assert better_than_most_frequent(answering([0] * 60 + [1] * count + [0] * (40 - count))).passed == passed


def test_nothing_is_better_where_all_test_images_are_of_one_class() -> None:
    for labels in ([1], [1] * 50):
        check = better_than_most_frequent(answering(labels, labels))
        assert not check.passed
        assert "all test images have the same label" in check.found


def test_chance_alone_passes_once_in_twenty_times_at_most() -> None:
    rng = np.random.default_rng(1)
    labels = [0, 1] * 20
    passed = [better_than_most_frequent(answering(rng.permutation(labels).tolist(), labels)).passed for _ in range(400)]
    assert np.mean(passed) <= 0.06
