"""Test that verify finds every change to a run, and that prune removes only files that no remaining run needs."""

import os
import random
from pathlib import Path

import pytest

from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.run_store import read_run, record_path, save_run
from tasks.history.verify import verify_run
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import RunRecord
from tests.support.finished import crown, finished


@pytest.fixture
def runs(work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset) -> list[RunRecord]:
    return [finished(work, splits, tiny, number) for number in (1, 2, 3, 4)]


def broken(root: Path, run: RunRecord) -> list[str]:
    return [link.role for link in verify_run(root, run) if link.fault]


def test_a_run_as_it_was_left_is_sound(work: Workspace, runs: list[RunRecord]) -> None:
    crown(work, runs[0], 1, None)
    found = list(verify_run(work.root, runs[0]))
    assert not [link for link in found if link.fault]
    assert [link.role.split()[0] for link in found][:9] == ["download"] * 4 + ["decode"] * 2 + [
        "train",
        "evaluate",
        "report",
    ]
    assert {"run", "champion", "record"} <= {link.role for link in found}


def test_every_single_byte_that_changes_is_found(work: Workspace, runs: list[RunRecord]) -> None:
    rng = random.Random(1)
    crown(work, runs[0], 1, None)
    paths = {work.root / link.path for link in verify_run(work.root, runs[0])}
    assert len(paths) >= 15
    for path in paths:
        content = path.read_bytes()
        for where in {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(5))}:
            altered = bytearray(content)
            altered[where] ^= rng.randrange(1, 256)
            path.write_bytes(altered)
            read = read_run(record_path(work.root, runs[0].run))
            assert not isinstance(read, RunRecord) or broken(work.root, read), f"byte {where} of {path}"
        path.write_bytes(content)
    assert broken(work.root, runs[0]) == []


def test_the_first_invalid_file_in_the_order_of_the_data_comes_first(work: Workspace, runs: list[RunRecord]) -> None:
    for link in (runs[0].manifest[-2], runs[0].manifest[5]):
        (work.root / link.file.path).write_bytes(b"")
    assert broken(work.root, runs[0]) == ["decode test", "evaluate plain on test"]


def test_predictions_of_another_model_and_splits_of_other_archives_are_found(
    work: Workspace, runs: list[RunRecord]
) -> None:
    mixed = [link if link.role != "train plain" else runs[1].manifest[-3] for link in runs[0].manifest]
    assert broken(work.root, runs[0].model_copy(update={"manifest": tuple(mixed)})) == ["evaluate plain on test"]
    fewer = tuple(link for link in runs[0].manifest if "train-labels" not in link.role)
    assert broken(work.root, runs[0].model_copy(update={"manifest": fewer})) == ["decode train"]


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and "lock" not in path.parts[-2]
    }


def test_prune_removes_only_files_that_no_kept_run_refers_to(work: Workspace, runs: list[RunRecord]) -> None:
    root = work.root
    foreign = [root / "models" / "notes.txt", root / "mine" / f"x-{'0' * 12}.bin", root / "mirror" / "a.gz"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    before = files(root)
    what = plan_pruning(root, 2)
    assert files(root) == before, "looking removes nothing"
    assert what.runs == (runs[0].run, runs[1].run)
    assert what.kept == (runs[2].run, runs[3].run)
    apply_pruning(root, what)
    gone = before - files(root)
    assert gone == {file for run in runs[:2] for file in files_of(run)}
    assert what.bytes > 0
    assert all(broken(root, run) == [] for run in runs[2:])
    assert plan_pruning(root, 2).files == plan_pruning(root, 2).runs == ()


def files_of(run: RunRecord) -> set[str]:
    """Return the files that no other run has."""
    return {link.file.path for link in run.manifest[-3:]} | {f"runs/{run.run}/run.json"}


def test_runs_of_champions_and_of_possible_rollbacks_are_never_pruned(work: Workspace, runs: list[RunRecord]) -> None:
    crown(work, runs[0], 1, None)
    crown(work, runs[1], 2, 1)
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert {run.parent.name for run in work.root.glob("runs/*/run.json")} == {runs[0].run, runs[1].run, runs[3].run}
    assert all(broken(work.root, run) == [] for run in (runs[0], runs[1], runs[3]))


def test_records_that_a_kept_run_needs_stay(work: Workspace, runs: list[RunRecord]) -> None:
    kept = {path.name for path in (work.root / "records").iterdir()}
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert {path.name for path in (work.root / "records").iterdir()} == kept


def test_a_record_that_cannot_be_read_stops_the_removal(work: Workspace, runs: list[RunRecord]) -> None:
    path = record_path(work.root, runs[0].run)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=f"{runs[0].run}.*move that run's folder away"):
        plan_pruning(work.root, 1)


@pytest.mark.parametrize("year", [2026, 2099])  # 2099: by the clock of a machine that was ahead
def test_recent_leftovers_of_a_killed_step_stay(work: Workspace, runs: list[RunRecord], year: int) -> None:
    save_run(runs[-1].model_copy(update={"began": runs[-1].began.replace(year=year), "number": 99}), work)
    young, old = (work.model_copy(update={"key": key}).resume_dir for key in ("train-a", "train-b"))
    of_others = work.root / "unfinished" / "train-c"
    for path in (young, old, of_others):
        path.mkdir(parents=True)
        os.utime(path, (1, 1) if path != young else None)
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert young.is_dir()
    assert not old.exists()
    assert of_others.is_dir()
