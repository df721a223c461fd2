"""Test which run gets a name under a root if several want it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest

from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.run_store import CLAIM, claim_run_name
from tasks.schemas.records import SplitRecord
from tasks.storage.roots import validate_root
from tasks.storage.storage import storage_of
from tests.support.finished import finished

NAME = "20261127-020000-nightly"
ONE, OTHER, THIRD = (UUID(int=number) for number in (1, 2, 3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = validate_root(tmp_path / "root")
    assert isinstance(made, Path)
    return made


def test_each_flow_run_has_a_name_of_its_own_and_keeps_it_when_it_is_retried(root: Path) -> None:
    names = [claim_run_name(root, NAME, one) for one in (ONE, OTHER, ONE, THIRD, OTHER)]
    assert names == [NAME, f"{NAME}-2", NAME, f"{NAME}-3", f"{NAME}-2"]
    assert claim_run_name(root, f"{NAME}-2", OTHER) == f"{NAME}-2", "the name that the first attempt has given itself"


def test_runs_that_start_at_the_same_time_get_different_names(root: Path) -> None:
    flow_runs = [UUID(int=number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda one: claim_run_name(root, NAME, one), flow_runs))
    assert sorted(names) == [NAME, *(f"{NAME}-{number}" for number in range(2, 9))]
    assert [claim_run_name(root, NAME, one) for one in flow_runs] == names


def test_the_folder_of_an_earlier_version_or_of_another_program_is_not_shared(root: Path) -> None:
    (root / "runs" / NAME).mkdir(parents=True)
    (root / "runs" / f"{NAME}-2").write_text("mine")
    (root / "runs" / f"{NAME}-3").symlink_to(root / "elsewhere")
    assert claim_run_name(root, NAME, ONE) == f"{NAME}-4"


def test_the_claim_of_a_run_that_failed_is_pruned_and_that_of_a_kept_run_is_not(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    validate_root(work.root)
    kept = finished(work, splits, tiny, 1)
    (work.root / "runs" / kept.run / CLAIM).unlink(missing_ok=True)
    claim_run_name(work.root, NAME, ONE)
    report = work.root / "runs" / kept.run
    before = sorted(report.iterdir())
    with storage_of(work.root).shared_lock(lambda *_: None):
        assert plan_pruning(work.root, 1).runs == (), "the run may be in progress"
    planned = plan_pruning(work.root, 1)
    assert planned.runs == (NAME,)
    apply_pruning(work.root, planned)
    assert not (work.root / "runs" / NAME).exists()
    assert sorted(report.iterdir()) == before
    assert not list((work.root / "made").iterdir())
