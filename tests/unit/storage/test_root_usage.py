"""Test what is measured under a root."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import RootError, StorageError
from tasks.storage import root_usage
from tasks.storage.folders import Folder
from tasks.storage.root_usage import usage_of
from tasks.storage.roots import validate_root
from tasks.storage.storage import storage_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return validate_root(tmp_path / "root")


def keep(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_the_bytes_of_each_folder_are_added_up_largest_first(root: Path) -> None:
    keep(root / Folder.RECORDS / "a.json", 10)
    keep(root / Folder.MODELS / "deep" / "a.keras", 3000)
    keep(root / Folder.MODELS / "b.keras", 4000)
    keep(root / "mirror" / "mnist" / "images.gz", 500)
    assert next(iter(usage_of(root).folders.items())) == (Folder.MODELS, 7000)
    assert usage_of(root).folders[Folder.RECORDS] == 10
    assert usage_of(root).folders["other"] > 500  # with the mark


def test_unfinished_work_is_counted(root: Path) -> None:
    assert usage_of(root).unfinished == 0
    keep(root / Folder.UNFINISHED / "train-1" / "weights", 1)
    keep(root / Folder.SCRATCH / "part", 1)
    assert usage_of(root).unfinished == 2


def test_an_active_run_is_seen_by_its_lock(root: Path) -> None:
    assert usage_of(root).in_use is False
    with storage_of(root).shared_lock(lambda *_: None):
        assert usage_of(root).in_use is True


def test_a_missing_root_is_empty_and_stays_missing(tmp_path: Path) -> None:
    missing = tmp_path / "a" / "root"
    assert usage_of(missing).folders == {}
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_others_are_not_measured(tmp_path: Path) -> None:
    keep(tmp_path / "thesis.txt", 1)
    with pytest.raises(RootError, match="is not a root"):
        usage_of(tmp_path)


class Store:
    """A path of a store with the objects `found`."""

    path = "bucket/prefix"

    def __init__(self, found: dict[str, Any], fault: Exception | None = None) -> None:
        self.fs, self.found, self.fault = self, found, fault

    def info(self, bucket: str) -> None:
        assert bucket == "bucket"
        if self.fault:
            raise self.fault

    def find(self, path: str, *, detail: bool) -> dict[str, Any]:
        assert detail
        return {f"{path}/{name}": details for name, details in self.found.items()}

    def __str__(self) -> str:
        return "s3://bucket/prefix"


@pytest.mark.parametrize(("seconds", "active"), [(5, True), (600, False)])
def test_a_store_is_in_use_while_a_lease_changes(seconds: int, active: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_usage, "known_root", lambda root: root)
    changed = datetime.now(UTC) - timedelta(seconds=seconds)
    store: Any = Store({
        "models/a": {"size": 7, "LastModified": datetime.now(UTC)},
        "locks/at-work/1": {"size": 3, "LastModified": changed},
    })  # fmt: skip
    assert usage_of(store).folders == {"models": 7, "locks": 3}
    assert usage_of(store).in_use is active


def test_a_missing_bucket_is_not_taken_for_an_empty_root() -> None:
    store: Any = Store({}, FileNotFoundError("Not Found"))
    with pytest.raises(StorageError, match="can't read the root s3://bucket/prefix: Not Found; check the bucket"):
        usage_of(store)
