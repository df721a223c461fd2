import numpy as np

from tasks.analysis.label_issues import label_issues_of
from tasks.data.predictions_parquet import Predictions, PredictionsMeta
from tests.support.samples import hashes

COUNT = 300


def models(wrong_labels: list[int]) -> list[Predictions]:
    """Return two models that predict the true classes of COUNT images in 3 classes, for labels of which some are wrong."""
    rng = np.random.default_rng(0)
    truth = np.arange(COUNT) % 3
    labels = truth.astype(np.uint8)
    labels[wrong_labels] = (truth[wrong_labels] + 1) % 3
    given = []
    for _ in range(2):
        probabilities = rng.dirichlet(np.ones(3), COUNT).astype(np.float32) * 0.05
        probabilities[np.arange(COUNT), truth] += 0.95
        given.append(
            Predictions(
                meta=PredictionsMeta(model="m", model_sha256="0"),
                labels=labels,
                predicted=probabilities.argmax(axis=1).astype(np.uint8),
                probabilities=probabilities,
                sha256=hashes([0] * COUNT),
            )
        )
    return given


def test_wrong_labels_are_named_by_the_models_and_by_cleanlab() -> None:
    wrong = list(range(7, COUNT, 25))
    found = label_issues_of("test", models(wrong))
    assert found.by_models == len(wrong)
    assert len(wrong) // 2 <= found.by_both == found.by_cleanlab  # it estimates the number, and drops the rest
    assert sorted(one.index for one in found.shown) == wrong
    assert all(one.predicted == one.index % 3 and one.label == (one.index + 1) % 3 for one in found.shown)


def test_correct_labels_are_not_reported() -> None:
    found = label_issues_of("test", models([]))
    assert (found.by_models, found.by_cleanlab, found.shown, found.patterns) == (0, 0, (), ())


def test_a_swap_stands_out_as_a_pattern() -> None:
    swapped = [index for index in range(COUNT) if index % 3 == 2][:20]
    (pattern,) = label_issues_of("train", models(swapped)).patterns
    assert (pattern.label, pattern.predicted, pattern.count) == (0, 2, 20)


def test_models_that_disagree_or_are_unsure_report_no_label_issue() -> None:
    one, other = models([3])
    unsure = other.model_copy(update={"probabilities": (other.probabilities * 0.5 + 0.5 / 3).astype(np.float32)})
    assert label_issues_of("test", [one, unsure]).by_models == 0


def test_only_images_that_may_be_shown_are() -> None:
    assert [one.index for one in label_issues_of("test", models([3, 50]), {50}).shown] == [50]
