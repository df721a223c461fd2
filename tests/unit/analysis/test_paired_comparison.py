from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from artifacts.report.text import gate_summary
from tasks.analysis.paired_comparison import changes_between, common_images, model_pairs, not_inferior
from tasks.analysis.statistics import compare_predictions
from tasks.config.recipe import Gate, Recipe, load_recipe
from tasks.data.predictions_parquet import Predictions
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.errors import RunError, StorageError
from tasks.history.champions import champion_history, champion_lines, lift_rollback, roll_back
from tasks.history.comparable_runs import predecessor
from tasks.history.prune import plan_pruning
from tasks.history.run_store import find_record, find_run, finished_runs, save_run
from tasks.schemas.analysis import Changes, Decision, Setting
from tasks.schemas.records import PredictionsRecord, SplitRecord
from tasks.schemas.runs import CompletedRun, RunRecord, StudyRun, champion_line, rolled_back_models
from tasks.steps.champion import bounds, decision_of, judge, promote
from tasks.steps.compare_runs import compare as compare_runs
from tasks.steps.publish_report import require_renderable
from tasks.storage.checksummed_json import write_checksummed
from tasks.storage.content_files import move_into_store, write_document
from tests.support.samples import FIRST, SECOND, hashes, model, predicted
from tests.support.written import write_predictions

DAY = datetime(2026, 1, 1, tzinfo=UTC)


def judged(work: Workspace, test: SplitRecord, wrong: int, *, start: int = 0, name: str = "plain") -> PredictionsRecord:
    """Return a model that misclassifies `wrong` images of the split, starting at `start`."""
    split = read_split([work.root / test.file.path])
    answers = split.labels.astype(int).tolist()
    answers[start : start + wrong] = [(answer + 1) % 10 for answer in answers[start : start + wrong]]
    given = predicted(split, answers, [0.9] * len(answers))
    path = work.root / "p"
    write_predictions(path, given)
    file = move_into_store(work.root, "predictions", f"{name}-{wrong}-{start}", ".parquet", path)
    return PredictionsRecord(
        model=name,
        split="test",
        file=file,
        count=len(answers),
        errors=wrong,
        accuracy=given.accuracy,
        loss=given.losses.mean(),
    )


@pytest.fixture
def make(splits: dict[str, SplitRecord], work: Workspace):  # noqa: ANN201
    def run(day: int, *predictions: PredictionsRecord, seed: int = 1, gate: Gate | None = None) -> RunRecord:
        recipe: Recipe = load_recipe("post", seed=seed).model_copy(update={"gates": {"tiny": gate} if gate else {}})
        models = tuple(model(one.model).model_copy(update={"file": one.file}) for one in predictions)
        record = RunRecord(
            run=f"2026010{day}-000000-run-{day}", began=DAY.replace(day=day), dataset="tiny", recipe=recipe,
            train=splits["train"], test=splits["test"], models=models,
            predictions=predictions, libraries={"keras": "3"}, code="0" * 64,
        )  # fmt: skip
        return save_run(record, work)

    return run


def test_runs_are_found_by_name_by_part_of_it_and_as_the_last(make, splits, work: Workspace) -> None:  # noqa: ANN001
    one, two = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    assert finished_runs(work.root) == [one, two]
    assert find_run(work.root, "last") == two
    for name in (one.run, "20260101", "run-1"):
        assert find_run(work.root, name) == one
    with pytest.raises(RunError, match="matches 2 runs"):
        find_run(work.root, "2026")
    with pytest.raises(RunError, match="the runs are 20260101-000000-run-1, 20260102-000000-run-2"):
        find_run(work.root, "nope")
    with pytest.raises(RunError, match="there are no runs"):
        find_run(work.root / "elsewhere", "last")


def test_a_run_is_compared_with_the_last_of_its_line_images_and_models(make, splits, work: Workspace) -> None:  # noqa: ANN001
    one = judged(work, splits["test"], 1)
    night = make(1, one)
    assert predecessor(work.root, night) == (None, [])
    weekly = like(night, 2, work, line="weekly")
    assert predecessor(work.root, weekly).run is None
    assert [omission.line for omission in predecessor(work.root, weekly).omitted] == [
        f"left out: comparison with run {night.run}: its champion line is main, that of this run is weekly"
    ]
    inverted = like(night, 3, work, test=night.test.model_copy(update={"pixels_sha256": "1" * 64}))
    found, (omission,) = predecessor(work.root, inverted)
    assert found is None
    assert omission.why == "its champion line is weekly, that of this run is main"
    other = make(4, one.model_copy(update={"model": "other"}))
    found, (omission,) = predecessor(work.root, other)
    assert found is None
    assert omission.part == f"comparison with run {night.run}"
    assert omission.why == "its models (plain) have no name in common with this run's (other)"
    assert predecessor(work.root, like(night, 5, work, dataset="another")) == (None, [])

    again = like(night, 6, work)
    found, (omission,) = predecessor(work.root, again)
    assert found == night
    assert omission.part == f"comparison with run {other.run}"
    assert predecessor(work.root, like(night, 7, work)) == (again, [])
    assert predecessor(work.root, like(weekly, 8, work)) == (weekly, [])


def like(run: RunRecord, day: int, work: Workspace, **changes: object) -> RunRecord:
    """Return another finished run that differs from a run only in its models and the given values."""
    models = [
        one.model_copy(update={"file": one.file.model_copy(update={"sha256": f"{day}" * 64})}) for one in run.models
    ]
    own = {
        "run": f"2026010{day}-000000-run-{day}",
        "began": DAY.replace(day=day),
        "number": 0,
        "models": tuple(models),
    }
    return save_run(run.model_copy(update={**own, **changes}), work)


def test_an_earlier_run_whose_record_is_damaged_is_named(make, splits, work: Workspace) -> None:  # noqa: ANN001
    one, two = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    path = work.root / f"runs/{two.run}/run.json"
    path.write_bytes(path.read_bytes()[:-9])
    three = make(3, judged(work, splits["test"], 3))
    found, (omission,) = predecessor(work.root, three)
    assert found == one
    assert omission.part == f"comparison with run {two.run}"
    assert "it was altered" in omission.why
    assert predecessor(work.root, make(4, judged(work, splits["test"], 4))) == (three, [])


def test_a_run_under_a_clock_that_was_ahead_does_not_stay_the_last(make, splits, work: Workspace) -> None:  # noqa: ANN001
    ahead = make(9, judged(work, splits["test"], 1))
    now = make(1, judged(work, splits["test"], 2))
    shared = {name: getattr(now, name) for name in CompletedRun.model_fields}
    named = shared | {"run": "20260102-000000-a-study", "number": 0}
    study = save_run(StudyRun(**named, trials=(), verdict=""), work)
    assert [run.number for run in (ahead, now, study)] == [1, 2, 3]
    assert finished_runs(work.root) == [ahead, now]
    assert find_run(work.root, "last") == now
    assert predecessor(work.root, like(now, 2, work)).run == now
    assert plan_pruning(work.root, 1).kept == (study.run, "20260102-000000-run-2")
    assert find_record(work.root, "last").parent.name == "20260102-000000-run-2"
    path = find_record(work.root, "last")
    path.write_text("{}")
    assert find_record(work.root, "last") == path, "a record that can't be read has the place of its name"


def test_records_of_earlier_versions_come_first_in_the_order_of_their_times(make, splits, work: Workspace) -> None:  # noqa: ANN001
    new = make(1, judged(work, splits["test"], 1))
    for day in (3, 2):
        old = new.model_copy(
            update={"run": f"2026010{day}-000000-run-{day}", "began": DAY.replace(day=day), "number": 0}
        )
        write_checksummed(work.root, f"runs/{old.run}/run.json", old)
    assert [run.began.day for run in finished_runs(work.root)] == [2, 3, 1]


def test_models_that_the_earlier_run_lacks_are_left_out(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before = make(1, judged(work, splits["test"], 1), judged(work, splits["test"], 5, name="gone"))
    now = make(
        2,
        judged(work, splits["test"], 2),
        judged(work, splits["test"], 6, name="gone"),
        judged(work, splits["test"], 3, name="new"),
    )
    (work.root / before.of("gone").file.path).unlink()
    record = compare_runs.fn(before, now, work)
    found = Changes.model_validate_json((work.root / record.file.path).read_bytes())
    assert [model.now for model in found.models] == ["plain"]
    assert [one.part for one in record.omitted] == [
        f"comparison with run {before.run} of {name}" for name in ("gone", "new")
    ]
    (work.root / before.of("plain").file.path).write_bytes(b"")
    with pytest.raises(RunError, match="has 0 bytes, not"):
        compare_runs.fn(before, now, work)


def test_changes_that_a_report_cannot_show_are_found_before_it(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before, now = make(1, judged(work, splits["test"], 10)), make(2, judged(work, splits["test"], 4, start=8))
    found = compare_runs.fn(before, now, work)
    require_renderable(found, work)
    changes = changes_between(before, now, model_pairs(before, now), work).model_copy(update={"classes": ("0", "1")})
    with pytest.raises(UndefinedError):
        require_renderable(found.model_copy(update={"file": write_document(work.root, "changes", "c", changes)}), work)


def test_a_run_without_a_sound_record_is_not_finished(make, splits, work: Workspace) -> None:  # noqa: ANN001
    one = make(1, judged(work, splits["test"], 1))
    (work.root / f"runs/{one.run}/run.json").write_text("{}")
    assert finished_runs(work.root) == []


def test_newly_misclassified_and_newly_correct_images_are_found(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before = make(1, judged(work, splits["test"], 10))
    now = make(2, judged(work, splits["test"], 4, start=8), seed=2)
    found = changes_between(before, now, model_pairs(before, now), work)
    (changed,) = found.models
    assert [one.index for one in changed.newly_wrong] == [10, 11]
    assert sorted(one.index for one in changed.newly_right) == list(range(8))
    assert (changed.comparison.only_first, changed.comparison.only_second, changed.comparison.both_wrong) == (2, 8, 2)
    assert (
        changed.newly_wrong[0].before.predicted == changed.newly_wrong[0].label != changed.newly_wrong[0].now.predicted
    )
    assert (found.images, found.only_before, found.only_now) == (300, 0, 0)
    assert [(one.name, one.before, one.now) for one in found.settings] == [("recipe seed", "1", "2")]


def test_images_are_found_by_their_content_wherever_they_stand() -> None:
    order = np.array([5, 0, 3, 1])
    old, new = common_images(FIRST, SECOND.take(order))
    assert (old.tolist(), new.tolist()) == (order.tolist(), [0, 1, 2, 3])
    relabeled = SECOND.model_copy(update={"labels": (SECOND.labels + np.array([1, 0, 0, 0, 0, 0])).astype(np.uint8)})
    assert common_images(FIRST, relabeled)[0].tolist() == [1, 2, 3, 4, 5]
    same = FIRST.model_copy(update={"sha256": hashes([0] * 6)})
    assert [one.tolist() for one in common_images(same, same)] == [[0, 1, 2, 3, 4, 5]] * 2


DIGITS = tuple("0123456789")


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"shape": (14, 56)}, "their images have different shapes (14x56 and 28x28)"),
        ({"classes": DIGITS[:9]}, "they have different numbers of classes (9 and 10)"),
        ({"classes": (*DIGITS[:9], "9th")}, "they have different class names (label 9 is '9th' and '9')"),
    ],
)
def test_runs_with_other_classes_or_shapes_are_refused(make, splits, work: Workspace, other, difference) -> None:  # noqa: ANN001
    before, now = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    before = before.model_copy(update={"test": before.test.model_copy(update=other)})
    with pytest.raises(RunError) as raised:
        changes_between(before, now, model_pairs(before, now), work)
    assert str(raised.value) == f"runs {before.run} and {now.run} can't be compared: {difference}"


def test_settings_compare_the_labels_themselves(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before, now = (make(day, judged(work, splits["test"], day)) for day in (1, 2))

    def found(**changes: object) -> list[str]:
        earlier = before.model_copy(update={"train": before.train.model_copy(update=changes)})
        return [one.name for one in changes_between(earlier, now, model_pairs(before, now), work).settings]

    assert found(archives=("a", "b"), labels_sha256=None) == []
    assert found(labels_sha256="0" * 64) == ["training labels"]


def test_training_labels_from_the_same_archive_are_not_read(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before, now = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    gone = before.train.file.model_copy(update={"path": "parquet/gone.parquet"})
    earlier = before.train.model_copy(update={"file": gone, "labels_sha256": None})

    def found(train: SplitRecord) -> list[Setting]:
        run = before.model_copy(update={"train": train})
        return list(changes_between(run, now, model_pairs(before, now), work).settings)

    assert found(earlier) == []
    (labels,) = found(earlier.model_copy(update={"archives": ("a", "b" * 64)}))
    assert (labels.name, labels.before) == ("training labels", "unknown, from the archive bbbbbbbbbbbb")


def test_training_labels_that_are_unknown_in_both_runs_are_a_difference(make, splits, work: Workspace) -> None:  # noqa: ANN001
    before, now = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    gone = before.train.file.model_copy(update={"path": "parquet/gone.parquet"})
    one, other = (
        run.model_copy(
            update={"train": run.train.model_copy(
                update={"file": gone, "labels_sha256": None, "archives": ("a", archive * 64)}
            )}
        )
        for run, archive in ((before, "b"), (now, "c"))
    )  # fmt: skip
    found = changes_between(one, other, model_pairs(before, now), work).settings
    assert [setting.name for setting in found] == ["training labels"]


def test_runs_without_a_common_image_or_model_are_refused(make, splits, work: Workspace) -> None:  # noqa: ANN001
    other: Predictions = SECOND.model_copy(update={"sha256": hashes(range(100, 106))})
    with pytest.raises(RunError, match="no test image with the same label in common"):
        common_images(FIRST, other)
    one, two = make(1, judged(work, splits["test"], 1)), make(2, judged(work, splits["test"], 1, name="other"))
    with pytest.raises(RunError, match="no model name in common"):
        model_pairs(one, two)
    with pytest.raises(RunError, match="has no model 'x'; its models are plain"):
        one.of("x")


def test_predictions_that_were_altered_are_refused(make, splits, work: Workspace) -> None:  # noqa: ANN001
    one, two = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    (work.root / one.predictions[0].file.path).write_bytes(b"x")
    with pytest.raises(StorageError, match="bytes, not"):
        changes_between(one, two, model_pairs(one, two), work)


def test_a_champion_may_be_found_again_by_a_run_of_the_same_inputs(make, splits, work: Workspace) -> None:  # noqa: ANN001
    run = make(1, judged(work, splits["test"], 3), gate=Gate(margin=0.0001))  # 300 images can't prove this margin
    promote.fn(run, judge.fn(run, work), work)
    assert judge.fn(run, work).passed


@pytest.mark.parametrize("gate", [None, Gate(floor=0.05)])
def test_a_model_that_always_answers_one_class_never_becomes_champion(make, splits, work: Workspace, gate) -> None:  # noqa: ANN001
    split = read_split([work.root / splits["test"].file.path])
    for day, answer in enumerate((int(np.bincount(split.labels).argmax()), 5), start=1):
        given = predicted(split, [answer] * 300, [0.9] * 300)
        write_predictions(work.root / "p", given)
        file = move_into_store(work.root, "predictions", f"constant-{answer}", ".parquet", work.root / "p")
        wrong = int(given.wrong.sum())
        record = PredictionsRecord(
            model="plain",
            split="test",
            file=file,
            count=300,
            errors=wrong,
            accuracy=given.accuracy,
            loss=given.losses.mean(),
        )
        run = make(day, record, gate=gate)
        decision = judge.fn(run, work)
        assert [one.name for one in decision.checks if not one.passed] == [
            "significantly better than the most frequent class"
        ]
        assert promote.fn(run, decision, work) is None
        assert not champion_history(work.root, champion_line(run))


def test_without_a_margin_a_model_must_not_be_worse_beyond_chance(make, splits, work: Workspace) -> None:  # noqa: ANN001
    first = make(1, judged(work, splits["test"], 3))
    promote.fn(first, judge.fn(first, work), work)
    assert judge.fn(make(2, judged(work, splits["test"], 5, start=100)), work).passed
    worse = judge.fn(make(3, judged(work, splits["test"], 30, start=100)), work)
    assert [check.name for check in worse.checks if not check.passed] == ["not significantly worse than the champion"]


def test_not_inferior_is_decided_by_the_interval() -> None:
    found = compare_predictions("champion", FIRST, "other", SECOND)
    assert not_inferior("champion", found.difference, 0.05).passed
    turned = compare_predictions("champion", SECOND, "other", FIRST)
    assert not not_inferior("champion", turned.difference, 0.05).passed
    assert "-50.00 points (95 % interval" in not_inferior("champion", turned.difference, 0.05).found


@pytest.mark.parametrize(("accuracy", "passed"), [(0.95, [True, True]), (0.8, [False, True]), (0.999, [True, False])])
def test_floor_and_ceiling(splits, work: Workspace, accuracy: float, passed: list[bool]) -> None:  # noqa: ANN001
    best = judged(work, splits["test"], 0).model_copy(update={"accuracy": accuracy})
    assert [check.passed for check in bounds(best, Gate(floor=0.9, ceiling=0.998))] == passed


def test_the_best_model_follows_the_champion_unless_it_is_worse(make, splits, work: Workspace) -> None:  # noqa: ANN001
    gate = Gate(margin=0.01)
    first = make(1, judged(work, splits["test"], 6), judged(work, splits["test"], 3, name="better"), gate=gate)
    decision = judge.fn(first, work)
    assert (decision.challenger, decision.champion, decision.passed) == ("better", None, True)
    entry = promote.fn(first, decision, work)
    assert entry is not None
    assert (entry.number, entry.model.name) == (1, "better")

    same = make(2, judged(work, splits["test"], 3, name="better"), gate=gate)
    decision = judge.fn(same, work)
    assert gate_summary(decision) == (
        f"The gate passed: better of {first.run} stays the champion, because better is the same model."
    )
    assert promote.fn(same, decision, work) is None
    assert len(champion_history(work.root, champion_line(first))) == 1
    early = Decision(challenger="better", champion=None, margin=None, checks=decision.checks)
    assert promote.fn(same, early, work) == entry, "another run has promoted the same model since the decision"

    worse = make(3, judged(work, splits["test"], 30), gate=gate)
    decision = judge.fn(worse, work)
    assert [check.name for check in decision.checks if not check.passed] == [
        "not inferior to the champion by 1 point or more"
    ]
    assert promote.fn(worse, decision, work) is None

    best = make(4, judged(work, splits["test"], 0), gate=gate)
    promote.fn(best, judge.fn(best, work), work)
    assert [one.title for one in champion_history(work.root, champion_line(first))] == [
        "better of 20260101-000000-run-1", "plain of 20260104-000000-run-4",
    ]  # fmt: skip


def test_a_rollback_is_one_more_entry_and_goes_further_back(make, splits, work: Workspace) -> None:  # noqa: ANN001
    for day, wrong in enumerate((3, 2, 1), start=1):
        run = make(day, judged(work, splits["test"], wrong), gate=Gate(margin=0.05))
        promote.fn(run, judge.fn(run, work), work)
    (line,) = champion_lines(work.root)
    assert roll_back(work.root, line).run.endswith("run-2")
    assert roll_back(work.root, line).run.endswith("run-1")
    assert [one.action for one in champion_history(work.root, line)] == ["promoted"] * 3 + ["rolled back"] * 2
    with pytest.raises(RunError, match=r"no earlier champion of tiny-.* to roll back to"):
        roll_back(work.root, line)


def test_a_line_whose_folder_was_renamed_to_a_pattern_keeps_its_champions(make, splits, work: Workspace) -> None:  # noqa: ANN001
    run = make(1, judged(work, splits["test"], 6))
    promote.fn(run, judge.fn(run, work), work)
    make(2, judged(work, splits["test"], 3))
    folder = work.root / "champions" / champion_line(run)
    renamed = folder.rename(f"{folder} [old]")
    assert champion_lines(work.root) == [renamed.name]
    assert [entry.run for entry in champion_history(work.root, renamed.name)] == [run.run]
    assert run.run not in plan_pruning(work.root, 1).runs
    with pytest.raises(RunError, match="there is no earlier champion"):
        roll_back(work.root, renamed.name)


@pytest.mark.parametrize("act", [roll_back, lift_rollback])
@pytest.mark.parametrize("named", ["nightly", "tiny-*", "../champions", ""])
def test_a_line_must_exist_to_be_rolled_back(make, splits, work: Workspace, act, named: str) -> None:  # noqa: ANN001
    with pytest.raises(RunError, match="a run that passes the gate makes one"):
        act(work.root, named)
    for day, wrong in enumerate((3, 2), start=1):
        run = make(day, judged(work, splits["test"], wrong), gate=Gate(margin=0.05))
        promote.fn(run, judge.fn(run, work), work)
    before = sorted(work.root.glob("champions/*/*"))
    with pytest.raises(RunError, match=r"there is no champion line .*; give one of main"):
        act(work.root, named)
    assert sorted(work.root.glob("champions/*/*")) == before


def test_a_rolled_back_model_is_not_promoted_until_the_rollback_is_lifted(make, splits, work: Workspace) -> None:  # noqa: ANN001
    gate = Gate(margin=0.05)
    first, second = (make(day, judged(work, splits["test"], wrong), gate=gate) for day, wrong in ((1, 2), (2, 1)))
    for run in (first, second):
        promote.fn(run, judge.fn(run, work), work)
    (line,) = champion_lines(work.root)
    roll_back(work.root, line)

    decision = judge.fn(second, work)
    assert (decision.passed, decision.promotes) == (True, False)
    assert "`mnist champion rollback --lift main`" in gate_summary(decision)
    assert promote.fn(second, decision, work) is None
    assert champion_history(work.root, line)[-1].run == first.run
    best = make(3, judged(work, splits["test"], 0, name="better"), gate=gate)
    assert judge.fn(best, work).promotes, "another model is not held down"

    assert [one.run for one in lift_rollback(work.root, line)] == [second.run]
    assert champion_history(work.root, line)[-1].action == "lifted"
    assert champion_history(work.root, line)[-1].run == first.run
    entry = promote.fn(second, judge.fn(second, work), work)
    assert entry is not None
    assert entry.run == second.run
    with pytest.raises(RunError, match=r"no rollback of tiny-\w+ is in effect"):
        lift_rollback(work.root, line)


def test_the_champion_that_a_rollback_restores_can_be_promoted(make, splits, work: Workspace) -> None:  # noqa: ANN001
    runs = [make(day, judged(work, splits["test"], wrong), gate=Gate(margin=0.05)) for day, wrong in ((1, 2), (2, 1))]
    for run in (*runs, runs[0]):
        promote.fn(run, judge.fn(run, work), work)
    (line,) = champion_lines(work.root)
    for _ in runs:  # to the second run, and then to the first
        roll_back(work.root, line)
    assert [one.run for one in rolled_back_models(champion_history(work.root, line))] == [runs[1].run]


def test_a_champion_without_predictions_is_compared_by_its_accuracy(make, splits, work: Workspace) -> None:  # noqa: ANN001
    first = make(1, judged(work, splits["test"], 20))
    promote.fn(first, judge.fn(first, work), work)
    (work.root / first.predictions[0].file.path).unlink()
    better = judge.fn(make(2, judged(work, splits["test"], 3)), work)
    assert better.promotes
    assert better.checks[-1].name == "not significantly worse than the champion by accuracy alone"
    assert "+5.67 points" in better.checks[-1].found
    (omission,) = better.omitted
    assert omission.line.startswith(f"left out: paired comparison with the champion, plain of {first.run}: ")
    assert omission.why.endswith("No such file or directory"), "to run again would not help"
    assert not judge.fn(make(3, judged(work, splits["test"], 90)), work).passed


def test_the_runs_own_predictions_must_be_there(make, splits, work: Workspace) -> None:  # noqa: ANN001
    first, second = (make(day, judged(work, splits["test"], day)) for day in (1, 2))
    promote.fn(first, judge.fn(first, work), work)
    (work.root / second.predictions[0].file.path).unlink()
    with pytest.raises(StorageError, match="No such file"):
        judge.fn(second, work)


def test_without_a_history_that_can_be_read_no_model_is_promoted(make, splits, work: Workspace) -> None:  # noqa: ANN001
    first = make(1, judged(work, splits["test"], 3))
    promote.fn(first, judge.fn(first, work), work)
    path = work.root / "champions" / champion_line(first) / "000001.json"
    path.write_bytes(path.read_bytes()[:-9])
    decision = judge.fn(make(2, judged(work, splits["test"], 0)), work)
    assert (decision.passed, decision.promotes) == (True, False)
    assert "can't read the champions" in gate_summary(decision)
    assert "restore the file, or move its folder away" in decision.omitted[0].line
    assert promote.fn(first, decision, work) is None


def test_a_champion_whose_entry_is_gone_is_named(make, splits, work: Workspace) -> None:  # noqa: ANN001
    for day, wrong in enumerate((2, 1), start=1):
        run = make(day, judged(work, splits["test"], wrong), gate=Gate(margin=0.05))
        promote.fn(run, judge.fn(run, work), work)
    (line,) = champion_lines(work.root)
    (work.root / "champions" / line / "000001.json").unlink()
    with pytest.raises(StorageError, match=r"entry 000001\.json is missing"):
        roll_back(work.root, line)
    with pytest.raises(StorageError, match=r"entry 000001\.json is missing"):
        plan_pruning(work.root, 1)


def test_a_decision_against_a_champion_that_has_changed_is_taken_again(make, splits, work: Workspace) -> None:  # noqa: ANN001
    gate = Gate(margin=0.01)
    worse, better = (make(day, judged(work, splits["test"], wrong), gate=gate) for day, wrong in ((1, 60), (2, 0)))
    early = judge.fn(worse, work)
    assert early.passed  # there is no champion so far
    promote.fn(better, judge.fn(better, work), work)
    assert promote.fn(worse, early, work) is None
    assert [one.run for one in champion_history(work.root, champion_line(worse))] == [better.run]


def test_other_test_images_have_champions_of_their_own(make, splits, work: Workspace) -> None:  # noqa: ANN001
    run = make(1, judged(work, splits["test"], 1))
    other = run.model_copy(update={"test": run.test.model_copy(update={"pixels_sha256": "1" * 64})})
    assert champion_line(run) != champion_line(other)
    assert decision_of(other, [], "drawn", work).champion is None


def test_runs_of_unlike_recipes_have_lines_of_champions_of_their_own(make, splits, work: Workspace) -> None:  # noqa: ANN001
    long = make(1, judged(work, splits["test"], 1), gate=Gate(margin=0.01))
    promote.fn(long, judge.fn(long, work), work)
    short = make(2, judged(work, splits["test"], 40), gate=Gate(margin=0.01))
    assert not judge.fn(short, work).passed
    assert judge.fn(short.model_copy(update={"line": "nightly"}), work).passed


def test_a_champion_that_cannot_be_read_is_named(work: Workspace) -> None:
    folder: Path = work.root / "champions" / "tiny-0"
    folder.mkdir(parents=True)
    (folder / "000001.json").write_text("{}")
    with pytest.raises(StorageError, match="can't read the champions"):
        champion_history(work.root, "tiny-0")
