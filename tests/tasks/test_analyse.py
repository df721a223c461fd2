import base64

import numpy as np
import pytest

from tasks.analyse import confusion, label_errors, most_confident, patterns, share
from tasks.profile import profile_of
from tasks.published import published_for
from tests.samples import FIRST, SECOND, SPLIT, analysis_of_two, split_of


def test_the_interval_is_that_of_a_published_example() -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3: 81 of 263.
    found = share(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    # The same table: 0 of 20 and 1 of 29.
    assert (round(share(0, 20).low, 4), round(share(0, 20).high, 4)) == (0.0, 0.1611)
    assert (round(share(1, 29).low, 4), round(share(1, 29).high, 4)) == (0.0061, 0.1718)


def test_confusion_counts_labels_in_rows_and_predictions_in_columns() -> None:
    np.testing.assert_array_equal(confusion(FIRST), [[1, 1, 0], [1, 1, 0], [2, 0, 0]])


def test_labels_are_sorted_by_their_errors() -> None:
    lines = label_errors([FIRST, SECOND], 3)
    assert [(line.label, [s.count for s in line.errors]) for line in lines] == [(2, [2, 1]), (0, [1, 0]), (1, [1, 0])]


def test_patterns_are_sorted_by_count_and_name_their_images_the_surest_first() -> None:
    found = patterns([FIRST, SECOND])
    assert [(p.predicted, p.label, p.counts) for p in found] == [(0, 2, (2, 1)), (0, 1, (1, 0)), (1, 0, (1, 0))]
    assert found[0].shown == (4, 5)


def test_the_surest_errors_come_first() -> None:
    assert most_confident(FIRST).tolist() == [5, 1, 3, 4]


def test_the_document_holds_every_shown_picture_with_every_answer() -> None:
    document = analysis_of_two()
    assert [m.errors for m in document.models] == [4, 1]
    assert set(document.by_index) == {1, 3, 4, 5}
    picture = document.by_index[4]
    assert base64.b64decode(picture.pixels) == SPLIT.images[4].tobytes()
    assert [answer.predicted for answer in picture.answers] == [0, 0]
    assert picture.answers[1].probability == pytest.approx(0.99)
    assert document.model_validate_json(document.model_dump_json()) == document


def test_the_published_figures_belong_to_mnist_alone() -> None:
    assert [result.errors for result in published_for("mnist", "batch_norm")] == [155, 106]
    assert published_for("fashion_mnist", "batch_norm") == ()


def test_a_profile_finds_duplicates_within_and_between_splits() -> None:
    train, test = split_of([0, 1, 1], name="train"), split_of([0, 2], name="test")
    same = bytes(32)
    train = train.model_copy(update={"sha256": (same, same, b"b" * 32)})
    test = test.model_copy(update={"sha256": (same, b"c" * 32)})
    found = profile_of([train, test])
    assert found.counts == {"train": (1, 2, 0), "test": (1, 0, 1)}
    assert found.duplicates_within == {"train": 1, "test": 0}
    assert (found.duplicates_between, found.label_conflicts) == (1, 1)
    assert found.examples[0].places == (("train", 0, 0), ("train", 1, 1), ("test", 0, 0))
