"""Test that a record which names a path outside the root is a broken record."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.config.dataset import Dataset
from tasks.engine.cache import CacheMiss, key_of, look_up_record
from tasks.engine.workspace import Workspace
from tasks.errors import ChecksumError, StorageError
from tasks.history.prune import plan_pruning
from tasks.history.run_store import read_run, read_runs
from tasks.schemas.records import FileRecord, MeasuresRecord, SplitRecord
from tasks.schemas.root_paths import path_part, path_under_root
from tasks.schemas.runs import Champion, RunRecord
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum, valid_documents
from tasks.storage.page_records import PageRecord
from tests.support.finished import crown, finished

OUTSIDE = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../x",
    "a/../x",
    "a/..",
    "./a",
    "a/./b",
    "a//b",
    "a/",
    "a\\b",
    "..\\x",
    "a\0",
    "a\nb",
    "a\x7f",
]
FILE = {"path": "../outside", "bytes": 1, "sha256": "0" * 64}


@pytest.mark.parametrize("path", ["a", "runs/a/report.html", "comparisons/a..b.html", "splits/é-0123456789ab.parquet"])
def test_a_path_under_the_root_is_taken(path: str) -> None:
    assert FileRecord(path=path, bytes=1, sha256="0" * 64).path == path


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_may_lead_elsewhere_is_rejected(path: str) -> None:
    with pytest.raises(ValidationError):
        FileRecord(path=path, bytes=1, sha256="0" * 64)
    for check in (path_under_root, path_part):
        with pytest.raises(ValueError, match="under a root"):
            check(path)


def test_a_name_has_a_single_part() -> None:
    assert path_part("20260101-000000-a-run") == "20260101-000000-a-run"
    with pytest.raises(ValueError, match="must not hold a /"):
        path_part("a/b")


def change_file(run: Any) -> None:
    run["manifest"][0]["file"] = FILE


def change_name(run: Any) -> None:
    run["run"] = "../elsewhere"


def change_dataset(run: Any) -> None:
    run["dataset"] = "../elsewhere"


@pytest.mark.parametrize("change", [change_file, change_name, change_dataset])
def test_a_run_that_names_a_place_outside_is_refused_like_an_altered_one(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset, change: Callable[[Any], None]
) -> None:
    run = finished(work, splits, tiny, 1)
    path = work.root / "runs" / run.run / "run.json"
    content = load_with_checksum(path.read_bytes())
    change(content)
    path.write_bytes(dump_with_checksum(content))
    assert isinstance(read_run(path), ChecksumError)
    assert read_runs(work.root, RunRecord)[0] == []
    with pytest.raises(StorageError, match="move that run's folder away"):
        plan_pruning(work.root, 1)


def test_champions_steps_and_pages_are_refused_too(
    work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    crown(work, finished(work, splits, tiny, 1), 1, None)
    (entry,) = (work.root / "champions").rglob("*.json")
    content = load_with_checksum(entry.read_bytes())
    for name, value in (("run", "../x"), ("dataset", "/x"), ("model", {**content["model"], "file": FILE})):
        with pytest.raises(ValidationError):
            Champion.model_validate({**content, name: value})
    key = key_of(change_file, {}, ())
    key.path(work.root).parent.mkdir(exist_ok=True)
    key.path(work.root).write_bytes(dump_with_checksum({"key": key.parts, "record": {"file": FILE}}))
    assert isinstance(look_up_record(key, MeasuresRecord, work.root), CacheMiss)
    (work.root / "made").mkdir()
    (work.root / "made" / "0123456789abcdef.json").write_bytes(dump_with_checksum({"files": [FILE], "of": []}))
    assert list(valid_documents(work.root, PageRecord)) == []
    with pytest.raises(ValidationError):
        PageRecord(files=(), of=("../x",))
    assert "outside" not in str(plan_pruning(work.root, 0).paths)
