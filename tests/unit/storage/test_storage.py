"""Test that a folder and a prefix of a store keep the same promises."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

from tasks.errors import InputError, StorageError
from tasks.storage.backend import Root, matching, open_root, require_store_address
from tasks.storage.content_files import move_into_store, require_valid, write_content_addressed, write_text
from tasks.storage.folders import MARK
from tasks.storage.local_storage import LocalStorage
from tasks.storage.s3_leases import has_live_lease, shared_lease
from tasks.storage.storage import Storage, storage_of
from tests.support.stores import BUCKET, store


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with store(tmp_path_factory.mktemp("store")) as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield f"s3://{BUCKET}"
        S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["folder", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    place = tmp_path.name if request.param == "store" else "root"
    above = request.getfixturevalue("bucket") if request.param == "store" else tmp_path
    return open_root(f"{above}/{place}")


@pytest.fixture
def storage(root: Root) -> Storage:
    return storage_of(root)


def test_a_written_file_is_read_and_a_new_one_never_replaces_it(root: Root) -> None:
    file = storage_of(root / "runs" / "note.txt")
    assert not file.is_taken()
    with storage_of(root).atomic_write("runs/note.txt", new=True) as stream:
        stream.write(b"first")
    with pytest.raises(FileExistsError), storage_of(root).atomic_write("runs/note.txt", new=True) as stream:
        stream.write(b"second")
    assert file.read_whole() == b"first"
    assert file.is_taken()
    assert file.is_replaceable()
    with storage_of(root).atomic_write("runs/note.txt") as stream:
        stream.write(b"third")
    assert file.read_whole() == b"third"


def test_a_write_that_fails_leaves_nothing(root: Root) -> None:
    with pytest.raises(ZeroDivisionError), storage_of(root).atomic_write("runs/note.txt") as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert storage_of(root / "runs").entries() == []


def test_a_missing_file_is_a_file_not_found(root: Root) -> None:
    with pytest.raises(FileNotFoundError):
        storage_of(root / "runs" / "note.txt").read_whole()


def test_names_are_sorted_and_the_newest_files_come_first(root: Root) -> None:
    for age, name in enumerate(("b-1.json", "a-1.json", "a-2.json")):
        file = write_text(root, f"records/{name}", "{}")
        if isinstance(root, Path):
            os.utime(root / file.path, (age, age))
        else:
            time.sleep(1.1)  # a store counts in seconds
    folder = storage_of(root / "records")
    assert folder.entries() == ["a-1.json", "a-2.json", "b-1.json"]
    assert [path.name for path in folder.newest("a-*.json", 5)] == ["a-2.json", "a-1.json"]
    assert [path.name for path in folder.newest("*.json", 1)] == ["a-2.json"]


def test_a_file_that_is_moved_in_matches_its_record(root: Root, storage: Storage, tmp_path: Path) -> None:
    storage.create()
    written = tmp_path / "written"
    written.write_bytes(b"weights")
    record = move_into_store(root, "models", "plain", ".keras", written)
    assert not written.exists()
    assert storage_of(root / record.path).read_whole() == b"weights"
    for again in (False, True):
        assert storage.verify(record, again=again) is None
    assert require_valid(root, record) == storage.cache_dir / record.path
    assert (storage.cache_dir / record.path).read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"Weights", "was altered: its SHA-256"), (b"more weights", "has 12 bytes, not 7"), (None, "No such file")],
)
def test_a_file_that_differs_from_its_record_is_neither_used_nor_removed(
    root: Root, storage: Storage, content: bytes | None, fault: str
) -> None:
    storage.create()
    record = write_content_addressed(root, "models", "plain", ".keras", b"weights")
    assert storage.is_removable(record)
    assert require_valid(root, record).read_bytes() == b"weights"
    if content is None:
        storage.remove(record.path)
    else:
        with storage.atomic_write(record.path) as stream:
            stream.write(content)
    with pytest.raises(StorageError, match=f"{root / record.path}.*{fault}"):
        require_valid(root, record)
    assert not storage.is_removable(record)


def test_a_removed_file_leaves_no_copy(root: Root, storage: Storage) -> None:
    storage.create()
    record = write_content_addressed(root, "models", "plain", ".keras", b"weights")
    copy = require_valid(root, record)
    storage.remove(record.path)
    assert not copy.exists()
    assert list(copy.parent.iterdir()) == []


def test_a_root_is_begun_once_it_is_created(storage: Storage) -> None:
    assert storage.entries() == []
    assert not storage.is_root_or_interrupted()
    for _ in range(2):
        storage.create()
        assert storage.is_root_or_interrupted()
    assert storage.entries() == [MARK]
    assert MARK in storage.initial_entries()
    storage.check_writable()
    assert storage.entries() == [MARK]


def test_a_lock_that_is_held_has_a_name_and_is_released(root: Root, storage: Storage) -> None:
    storage.create()
    lock = storage_of(root / "locks" / storage.lock_name("train-0123456789abcdef"))
    with storage.shared_lock(print), storage.key_lock("train-0123456789abcdef", "run one", print):
        assert b"run one" in lock.read_whole()
    with storage.exclusive_lock("mnist prune", print):
        assert b"mnist prune" in storage_of(root / "locks" / "root.lock").read_whole()


def test_a_file_that_is_larger_than_any_record_is_not_read(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("backend", "local_storage"):
        monkeypatch.setattr(f"tasks.storage.{module}.MAX_RECORD", 1 << 20)
    for size in (0, 1, 1 << 20):
        write_text(root, f"runs/{size}", "x" * size)
        assert len(storage_of(root / "runs" / str(size)).read_whole()) == size
    write_text(root, "runs/large", "x" * ((1 << 20) + 1))
    with pytest.raises(OSError, match="it has more than 1 MiB"):
        storage_of(root / "runs" / "large").read_whole()


NAMED_LIKE_PATTERNS = ("[old]", "a*b", "{a,b}", "!r")


@pytest.mark.parametrize("name", [*NAMED_LIKE_PATTERNS, "a?b"])
def test_a_root_named_like_a_pattern_holds_its_own_files_only(tmp_path: Path, name: str) -> None:
    check_that_only_own_files_match(tmp_path, name)


@pytest.mark.parametrize("name", NAMED_LIKE_PATTERNS)
def test_a_prefix_named_like_a_pattern_holds_its_own_objects_only(bucket: str, tmp_path: Path, name: str) -> None:
    above = open_root(f"{bucket}/{tmp_path.name}")
    check_that_only_own_files_match(above, name)
    folder = above / name / "locks" / "at-work"
    with shared_lease(folder, above / name / "locks" / "root.lock", "run one", print):
        assert has_live_lease(folder, {})
    assert not has_live_lease(folder, {})


def check_that_only_own_files_match(above: Root, name: str) -> None:
    """Check that what a root finds is its own, although it has a neighbor whose name matches its own name."""
    root, neighbor = above / name, above / name.replace("*", "X").replace("?", "X").replace("[old]", "o")
    for place, run in ((root, "one"), (neighbor, "two")):
        write_text(place, f"runs/{run}/run.json", "{}")
        write_text(place, f"runs/{run}/deep/run.json", "{}")
        write_text(place, f"records/{run}.json", "{}")
    expected = ["one"] if neighbor != root else ["one", "two"]
    assert [path.parent.name for path in matching(root, "runs/*/run.json")] == expected
    assert [path.name for path in storage_of(root / "records").newest("one*.json", 5)] == ["one.json"]
    assert matching(root, "missing/*.json") == []


@pytest.mark.parametrize("pattern", ["runs/*/*.json", "runs/two/[0-9].json"])
def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    root: Root, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    for run in ("one", "two"):
        write_text(root, f"runs/{run}/run.json", "{}")

    def refuse(place: object, *_: object, **__: object) -> None:
        if "two" in str(place):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))

    list_one, list_names, scan = S3FileSystem._lsdir, os.listdir, os.scandir

    async def refuse_prefix(self: S3FileSystem, path: str, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await list_one(self, path, **options)
        for each in (path, *(one["name"] for one in found)):
            refuse(each)
        return found

    monkeypatch.setattr(S3FileSystem, "_lsdir", refuse_prefix)
    monkeypatch.setattr(os, "listdir", lambda place: refuse(place) or list_names(place))
    monkeypatch.setattr(os, "scandir", lambda place: refuse(place) or scan(place))
    with pytest.raises(StorageError, match=f"can't list .*{os.strerror(errno.EACCES)}"):
        matching(root, pattern)


@pytest.mark.parametrize("place", ["s3://bucket/a?b/r", "s3://bucket/a#b"])
def test_a_prefix_that_a_url_cannot_hold_is_refused_for_that_reason(place: str) -> None:
    with pytest.raises(InputError, match=r"give a prefix without \? and #, which URLs reserve"):
        open_root(place)


@pytest.mark.parametrize("place", ["s3://", "s3:///", "s3:///prefix"])
def test_an_address_without_a_bucket_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="give a folder, or s3://BUCKET/PREFIX"):
        require_store_address(place)


@pytest.mark.parametrize("content", [b"weights", b"a" * (1 << 20) + b"weights"], ids=["small", "large"])
def test_a_changed_file_of_the_same_size_stays(root: Root, storage: Storage, content: bytes) -> None:
    storage.create()
    record = write_content_addressed(root, "models", "plain", ".keras", content)
    for _ in range(2):  # without a cached copy, and with one
        assert storage.is_removable(record)
        require_valid(root, record)
    with storage.atomic_write(record.path) as stream:
        stream.write(content.upper())
    assert not storage.is_removable(record)


@pytest.mark.parametrize("path", ["../outside", "../../../outside", "a/../../outside", "{tmp_path}/outside"])
def test_no_file_is_fetched_to_a_place_outside_the_cache(
    root: Root, storage: Storage, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage.create()
    sound = write_text(root, "models/sound", "x")
    file = sound.model_copy(update={"path": path.format(tmp_path=tmp_path)})  # as if records were not validated
    if not isinstance(root, Path):
        monkeypatch.setattr(type(root), "__truediv__", lambda self, name: self.joinpath(
            sound.path if name == file.path else name))  # fmt: skip
    before = set(tmp_path.rglob("outside"))
    for _ in range(2):
        storage.verify(file, again=True)
        with pytest.raises(StorageError, match="a path under a root must be relative"):
            LocalStorage(tmp_path / "root").move_in(tmp_path / "written", file.path)
    assert set(tmp_path.rglob("outside")) == before


def test_no_file_is_fetched_through_a_link_in_the_cache(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = open_root(f"{bucket}/{tmp_path.name}")
    storage = storage_of(root)
    storage.create()
    record = write_content_addressed(root, "models", "plain", ".keras", b"weights")
    (tmp_path / "elsewhere").mkdir()
    (storage.cache_dir / "models").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in (storage.verify(record) or "")
    (storage.cache_dir / "models").unlink()
    require_valid(root, record)
    (tag,) = (storage.cache_dir / "models").glob(".*")
    tag.unlink()
    tag.symlink_to(tmp_path / "elsewhere/tag")
    assert "a symbolic link is in its place" in (storage.verify(record) or "")
    assert list((tmp_path / "elsewhere").iterdir()) == []
