import numpy as np
import pytest

from tasks.analysis.confusion_analysis import (
    compare_all_models,
    confusion_matrix,
    disagreement_groups,
    find_patterns,
    label_errors,
    most_confident,
)
from tasks.analysis.statistics import mcnemar_p
from tasks.config.dataset import BUILT_IN_TEST_CONTENT
from tasks.schemas.post_results import difference_published, published_for
from tasks.steps.select_examples import choose_examples
from tests.support.samples import EVERYWHERE, FIRST, SECOND, predicted, split_of


def test_confusion_counts_labels_in_rows_and_predictions_in_columns() -> None:
    np.testing.assert_array_equal(confusion_matrix(FIRST), [[1, 1, 0], [1, 1, 0], [2, 0, 0]])


def test_labels_are_sorted_by_their_errors() -> None:
    lines = label_errors([FIRST, SECOND], 3)
    assert [(line.label, [s.count for s in line.errors]) for line in lines] == [(2, [2, 1]), (0, [1, 0]), (1, [1, 0])]


def test_a_real_difference_on_one_label_is_found_and_the_others_are_not_blamed() -> None:
    split = split_of([0] * 40 + [1] * 40 + [2] * 40)
    right = split.labels.tolist()
    one = predicted(split, [1] * 12 + right[12:], [0.9] * 120)
    other = predicted(split, [*right[:40], 2, *right[41:]], [0.9] * 120)
    found = {line.label: line.p[0] for line in label_errors([one, other], 3)}
    # 12 against 0 discordant: 2 / 2^12, times 3 labels.
    assert found[0] == 3 * 2 / 2**12
    assert found[1] == found[2] == 1


def test_patterns_are_sorted_by_count_and_their_images_by_confidence() -> None:
    found = find_patterns([FIRST, SECOND], EVERYWHERE)
    assert [(p.predicted, p.label, p.counts) for p in found] == [(0, 2, (2, 1)), (0, 1, (1, 0)), (1, 0, (1, 0))]
    assert found[0].shown == (4, 5)


def test_only_chosen_images_are_shown() -> None:
    assert find_patterns([FIRST, SECOND], np.arange(6) != 4)[0].shown == (5,)


def test_the_most_confident_errors_come_first() -> None:
    assert most_confident(FIRST, EVERYWHERE) == (5, 1, 3, 4)


def test_every_image_is_in_one_group() -> None:
    found = disagreement_groups(("plain", "other"), FIRST, SECOND, EVERYWHERE)
    assert {group.name: group.count for group in found} == {
        "both right": 2, "only plain wrong": 3, "only other wrong": 0, "both wrong, same prediction": 1,
        "both wrong, different predictions": 0,
    }  # fmt: skip
    assert {group.name: group.shown for group in found if group.shown} == {
        "only plain wrong": (5, 1, 3), "both wrong, same prediction": (4,),
    }  # fmt: skip


def test_every_pair_of_models_is_compared() -> None:
    found = compare_all_models(["a", "b", "c"], [FIRST, SECOND, FIRST])
    assert [(pair.first, pair.second) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_pairs_are_corrected_for_their_number() -> None:
    right, wrong = split_of([0] * 8), [0.9] * 8
    good, bad = predicted(right, [0] * 8, wrong), predicted(right, [1] * 7 + [0], wrong)
    alone, *_ = compare_all_models(["a", "b"], [good, bad])
    first, second, third = compare_all_models(["a", "b", "c"], [good, bad, good])
    assert (alone.tests, first.tests) == (1, 3)
    assert alone.p == mcnemar_p(0, 7)
    assert (first.p, second.p, third.p) == (pytest.approx(3 * alone.p), 1, pytest.approx(3 * alone.p))


def test_all_errors_are_chosen_where_there_are_few() -> None:
    assert sorted(choose_examples([FIRST, SECOND], 300)) == [1, 3, 4, 5]


def test_many_errors_are_chosen_from_each_pattern_in_turn_the_most_confident_first() -> None:
    split = split_of([0] * 6)
    given = predicted(split, [1, 1, 1, 1, 2, 0], [0.6, 0.9, 0.8, 0.7, 0.5, 0.9])
    assert choose_examples([given], 3) == [1, 4, 2]


def test_the_published_figures_belong_to_mnist_alone() -> None:
    assert [result.errors for result in published_for(BUILT_IN_TEST_CONTENT["mnist"], "batch_norm")] == [155, 106]
    assert published_for("0" * 64, "batch_norm") == ()
    assert difference_published("0" * 64) is None
