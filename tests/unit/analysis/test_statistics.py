"""Compare the statistics with published worked examples, which share no code with this project."""

from pathlib import Path

import numpy as np
import pytest

from tasks.analysis.statistics import (
    compare_predictions,
    fisher_p,
    holm,
    mcnemar_p,
    mean_estimate,
    paired_difference,
    share_estimate,
)
from tasks.data.predictions_parquet import Predictions, PredictionsMeta, read_predictions
from tasks.storage.content_files import move_into_store
from tests.support.samples import FIRST, SECOND, hashes
from tests.support.written import write_predictions


def test_wilsons_interval_is_that_of_a_published_example() -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3: 81 of 263.
    found = share_estimate(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    # The same table: 0 of 20 and 1 of 29.
    assert (round(share_estimate(0, 20).low, 4), round(share_estimate(0, 20).high, 4)) == (0.0, 0.1611)
    assert (round(share_estimate(1, 29).low, 4), round(share_estimate(1, 29).high, 4)) == (0.0061, 0.1718)


# Fifty sputum specimens on two culture media, Armitage and Berry (1994), "Statistical methods in medical research", p. 127:
# 20 grew on both, 12 on A alone, 2 on B alone, 16 on neither. StatsDirect's manual gives the exact two-sided P as 0.0129;
# by hand it is 2 (C(14,0) + C(14,1) + C(14,2)) / 2^14 = 212 / 16384.
MEDIA = {"both": 20, "only_first": 12, "only_second": 2, "neither": 16}


def predictions_with(right: list[bool]) -> Predictions:
    """Return predictions of two classes for images with label 0, correct or incorrect as given."""
    probabilities = np.array([[0.9, 0.1] if one else [0.1, 0.9] for one in right], np.float32)
    return Predictions(
        meta=PredictionsMeta(model="m", model_sha256="0"),
        labels=np.zeros(len(right), np.uint8),
        predicted=probabilities.argmax(axis=1).astype(np.uint8),
        probabilities=probabilities,
        sha256=hashes(range(len(right))),
    )


def test_a_pair_of_prediction_files_gives_mcnemars_published_p_value(tmp_path: Path) -> None:
    first = [True] * 20 + [True] * 12 + [False] * 2 + [False] * 16
    second = [True] * 20 + [False] * 12 + [True] * 2 + [False] * 16
    given = []
    for name, right in (("a", first), ("b", second)):
        write_predictions(tmp_path / name, predictions_with(right))
        file = move_into_store(tmp_path, "predictions", name, ".parquet", tmp_path / name)
        given.append(read_predictions(tmp_path / file.path))
    found = compare_predictions("a", given[0], "b", given[1])
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == tuple(MEDIA.values())
    assert f"{found.p:.6f}" == "0.012939"
    assert found.significant
    assert found.same_wrong == 16


def test_mcnemars_exact_p_is_that_of_other_published_examples() -> None:
    # Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13: 91: airway hyper-responsiveness before and
    # after stem cell transplantation (Bentur 2009), 1 and 7 discordant pairs: 2 (1 + 8) / 2^8.
    assert f"{mcnemar_p(1, 7):.6f}" == "0.070312"
    # Fay's vignette of R's exact2x2: b = 2, c = 9, p-value = 0.06543.
    assert f"{mcnemar_p(2, 9):.5f}" == "0.06543"
    assert mcnemar_p(0, 0) == 1


def test_the_paired_difference_has_newcombes_published_interval() -> None:
    # The same trial, 1, 1, 7, 12: difference -0.286, Newcombe's interval -0.507 to -0.026 (Fagerland, Lydersen and Laake
    # 2014, "Recommended tests and confidence intervals for paired binomial proportions", Statistics in Medicine 33: 2850).
    # There the difference is the first share minus the second; here the second minus the first.
    found = paired_difference(both=1, only_first=7, only_second=1, neither=12)
    assert [round(value, 3) for value in (found.value, found.low, found.high)] == [-0.286, -0.507, -0.026]


def test_the_paired_difference_turns_with_its_order() -> None:
    one, other = paired_difference(20, 12, 2, 16), paired_difference(20, 2, 12, 16)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))


def test_two_that_answer_alike_do_not_differ() -> None:
    found = compare_predictions("a", FIRST, "b", FIRST)
    assert (found.difference.value, found.p, found.significant) == (0, 1, False)
    assert found.difference.low < 0 < found.difference.high


def test_the_difference_is_the_seconds_less_the_firsts() -> None:
    found = compare_predictions("a", FIRST, "b", SECOND)
    assert (found.only_first, found.only_second) == (0, 3)
    assert found.difference.value == pytest.approx(0.5)
    assert found.loss.value == pytest.approx(SECOND.losses.mean() - FIRST.losses.mean())


def test_fishers_exact_p_is_that_of_the_lady_tasting_tea() -> None:
    # Fisher (1935), "The design of experiments", chapter 2: 3 of 4 cups right, two-sided 34 / 70.
    assert fisher_p(share_estimate(3, 4), share_estimate(1, 4)) == pytest.approx(34 / 70)


def test_holms_correction_is_that_of_the_worked_example() -> None:
    # The example of the encyclopedias (Wikipedia, "Holm-Bonferroni method"): of these four, only 0.005 and 0.01 hold at 0.05.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    found = mean_estimate(np.array([1.0, 2.0, 3.0, 4.0]), 0, 10)
    assert found.value == 2.5
    assert found.high - found.value == pytest.approx(1.959964 * np.std([1, 2, 3, 4], ddof=1) / 2, rel=1e-6)
