"""Test which flow runs are noted when runs are pruned, and for how long."""

import shutil
from pathlib import Path
from uuid import UUID

import pytest

from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.history.flow_runs import add_pending_flow_runs, forget_flow_runs, pending_flow_runs
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.run_store import find_run
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import FlowRun, RunRecord
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum
from tasks.storage.folders import Folder
from tasks.storage.roots import validate_root
from tests.support.finished import finished


def flow_run(number: int, at: str = "/home/me/.prefect/prefect.db") -> FlowRun:
    return FlowRun(id=UUID(int=number), flow=UUID(int=99), at=at, root="/root")


@pytest.fixture
def runs(work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset) -> list[RunRecord]:
    validate_root(work.root)
    return [finished(work, splits, tiny, number, flow_run(number)) for number in (1, 2, 3)]


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / Folder.HISTORY).glob("*"))


def test_a_record_names_its_flow_run_and_one_of_an_earlier_version_none(work: Workspace, runs: list[RunRecord]) -> None:
    assert find_run(work.root, runs[0].run).flow_run == flow_run(1)
    path = work.root / "runs" / runs[0].run / "run.json"
    content = load_with_checksum(path.read_bytes())
    del content["flow_run"]
    path.write_bytes(dump_with_checksum(content))
    assert find_run(work.root, runs[0].run).flow_run is None
    assert plan_pruning(work.root, 2).history == frozenset()


def test_a_record_with_a_root_that_no_system_can_have_stops_no_pruning(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    validate_root(work.root)
    elsewhere = flow_run(1).model_copy(update={"root": "/x\0y"})
    for number in (1, 2):
        finished(work, splits, tiny, number, elsewhere)
    assert len(plan_pruning(work.root, 1).runs) == 1


def test_the_flow_runs_of_pruned_runs_are_pending_until_they_are_forgotten(
    work: Workspace, runs: list[RunRecord]
) -> None:
    what = plan_pruning(work.root, 1)
    assert pending_flow_runs(work.root) == set(), "nothing is touched yet"
    apply_pruning(work.root, what)
    assert pending_flow_runs(work.root) == {flow_run(1), flow_run(2)}
    assert plan_pruning(work.root, 1).history == {flow_run(1), flow_run(2)}, "the next call does the rest"
    forget_flow_runs(work.root, {flow_run(1)})
    assert pending_flow_runs(work.root) == {flow_run(2)}
    assert len(names(work.root)) == 1
    forget_flow_runs(work.root, {flow_run(2)})
    assert names(work.root) == []


def test_a_pending_flow_run_whose_run_is_kept_is_dropped(work: Workspace, runs: list[RunRecord]) -> None:
    add_pending_flow_runs(
        work.root, plan_pruning(work.root, 1).history
    )  # then a kill, and a later prune that keeps more runs
    apply_pruning(work.root, plan_pruning(work.root, 2))
    assert pending_flow_runs(work.root) == {flow_run(1)}


def test_a_flow_run_that_a_kept_run_also_belongs_to_stays(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    validate_root(work.root)
    finished(work, splits, tiny, 1, flow_run(1))
    finished(work, splits, tiny, 2, flow_run(1, "http://other.example/api"))  # which Prefect has retried
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert pending_flow_runs(work.root) == set()


def test_the_flow_runs_of_a_root_stay_when_a_copy_of_it_is_pruned(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset, tmp_path: Path
) -> None:
    validate_root(work.root)
    here = flow_run(1).model_copy(update={"root": str(work.root)})
    finished(work, splits, tiny, 1, here)
    finished(work, splits, tiny, 2)
    copy = shutil.copytree(Path(str(work.root)), tmp_path / "copy")
    assert plan_pruning(copy, 1).history == frozenset()
    (tmp_path / "link").symlink_to(str(work.root))
    for same in (work.root, tmp_path / "link"):
        assert plan_pruning(same, 1).history == {here}
    shutil.rmtree(str(work.root))  # so it was a move
    assert plan_pruning(copy, 1).history == {here}


def test_flow_runs_that_another_prune_adds_stay_pending(work: Workspace) -> None:
    validate_root(work.root)
    add_pending_flow_runs(work.root, {flow_run(1)})
    add_pending_flow_runs(work.root, {flow_run(1), flow_run(2)})
    forget_flow_runs(work.root, {flow_run(1)})
    assert pending_flow_runs(work.root) == {flow_run(2)}


@pytest.mark.parametrize(
    "content", [b"", b"{}", dump_with_checksum({"flow_runs": []}), dump_with_checksum({"flow_runs": [{"id": "x"}]})]
)
def test_a_foreign_file_among_the_pending_flow_runs_is_skipped_and_stays(work: Workspace, content: bytes) -> None:
    validate_root(work.root)
    add_pending_flow_runs(work.root, {flow_run(1)})
    foreign = work.root / Folder.HISTORY / "0123456789abcdef.json"
    foreign.write_bytes(content)
    forget_flow_runs(work.root, pending_flow_runs(work.root))
    assert names(work.root) == [foreign.name]
    assert foreign.read_bytes() == content
