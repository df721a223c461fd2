"""Test which folders are roots, which become roots, and which are rejected before anything is written."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

import pytest

from tasks.engine.workspace import Workspace, open_workspace
from tasks.errors import RootError, StorageError
from tasks.history.champions import champion_history, champion_lines
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.run_store import claim_run_name, read_runs
from tasks.history.verify import verify_run
from tasks.schemas.runs import RunRecord
from tasks.storage import roots
from tasks.storage.folders import MARK, Folder
from tasks.storage.root_marker import find_mark, mark_root
from tasks.storage.roots import existing_root, known_root, validate_root
from tasks.storage.storage import storage_of
from tests.support import data
from tests.support.serving import without_prefect

FIXTURE = Path(__file__).parents[2] / "fixtures" / "root-bccf637.tar.xz"
MNIST = Path(sys.executable).with_name("mnist")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a root that an earlier version has created."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "root"


def paths(root: Path) -> dict[str, bytes | None]:
    """Return every path under a root, and its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def clone(root: Path) -> None:
    shutil.copytree(data.MIRROR.parent, root / "mirror")


def volume(root: Path) -> None:
    (root / "lost+found").mkdir(parents=True, mode=0o700)


def about_to_be_marked(root: Path) -> None:
    root.mkdir()
    (root / MARK).touch()


def test_a_mark_file_is_read_up_to_the_size_of_a_mark(tmp_path: Path) -> None:
    with (tmp_path / MARK).open("wb") as stream:
        stream.truncate(200 << 30)  # a sparse file
    with pytest.raises(OSError, match="it has more than 4,096 bytes"):
        find_mark(tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, Path.absolute, clone, volume, about_to_be_marked])
def test_a_folder_that_counts_as_empty_becomes_a_root(tmp_path: Path, make: Callable[[Path], object]) -> None:
    root = tmp_path / "root"
    make(root)
    assert known_root(root) == root
    with pytest.raises(RootError, match="there are no runs under"):
        existing_root(root)
    assert find_mark(root) is None
    assert find_mark(validate_root(root)) == mark_root(existing_root(root))


def put(name: str, content: bytes = b"mine") -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return make


FOREIGN = {
    "a folder in scratch": put("scratch/thesis/chapter.txt"),
    "a run of TensorBoard": put("runs/exp1/events.out.tfevents"),
    "a record that is none": put("records/train-0123456789abcdef.json", b'{"sha256": "00"}'),
    "a run that is none": put("runs/20260101-000000-some-run/run.json", b"{}"),
    "a mirror with more in it": lambda root: (clone(root), put("mirror/mnist/thesis.txt")(root)),
    "a mirror that is a link": lambda root: (root.mkdir(), (root / "mirror").symlink_to(data.MIRROR.parent)),
    "a clone's data and more": lambda root: (clone(root), put("notes.txt")(root)),
    "a volume and more": lambda root: (volume(root), put("notes.txt")(root)),
    "a repository": put(".git/HEAD"),
    "another cache": put("CACHEDIR.TAG"),
    "an empty folder": lambda root: (root / "src").mkdir(parents=True),
}


def test_a_root_that_becomes_unreadable_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate_root(tmp_path)
    answers: list[bool | OSError] = [True, PermissionError(errno.EACCES, "Permission denied")]

    def is_root(_root: Path) -> bool:
        if isinstance(answer := answers.pop(0), OSError):
            raise answer
        return answer

    monkeypatch.setattr(roots, "is_root", is_root)
    with pytest.raises(StorageError, match=r"can't read the root .*: Permission denied; give another --root"):
        existing_root(tmp_path)


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_with_unrelated_files_is_rejected_with_a_subfolder_to_use_and_not_changed(
    tmp_path: Path, case: str
) -> None:
    root = tmp_path / "proj"
    FOREIGN[case](root)
    before = paths(root)
    for use in (validate_root, known_root, existing_root):
        with pytest.raises(RootError, match=f"{root} is not a root .*, such as --root {root}/mnist$"):
            use(root)
    assert paths(root) == before


@pytest.mark.parametrize("place", [Path("/"), Path.home(), Path(__file__).parents[3]])
def test_no_system_home_or_repository_becomes_a_root_by_accident(place: Path) -> None:
    if place == Path.home() and not any(place.iterdir()):
        pytest.fail("this user's home is empty: it would be a root by right")
    with pytest.raises(RootError, match="is not a root of mnist"):
        validate_root(place)
    assert not (place / MARK).exists()


def test_a_mark_that_is_invalid_or_a_link_is_reported_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / MARK).write_text("thesis")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / MARK).symlink_to(tmp_path / "a" / MARK)
    for root in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(StorageError, match=r"is not the mark of a root.*move it away"):
            validate_root(root)
    assert (tmp_path / "a" / MARK).read_text() == "thesis"


def token_of(root: Path) -> str:
    return mark_root(validate_root(root)).token


def test_processes_at_once_agree_on_one_mark(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        tokens = set(pool.map(token_of, [tmp_path / "root"] * 16))
    assert len(tokens) == 1


def test_the_root_of_an_earlier_version_is_read_adopted_verified_and_pruned(old: Path) -> None:
    before = paths(old)
    (first, last), unreadable = read_runs(known_root(old), RunRecord)
    assert not unreadable
    assert [entry.run for line in champion_lines(old) for entry in champion_history(old, line)]
    for run in (first, last):
        assert not [link for link in verify_run(old, run) if link.fault]
    assert paths(old) == before, "reading writes nothing"
    with open_workspace(validate_root(old), "a-run"):
        pass
    assert find_mark(old)
    assert {name: content for name, content in paths(old).items() if name != MARK} == before, "what is unproven stays"
    shutil.rmtree(old / Folder.CHAMPIONS)
    what = plan_pruning(old, 1)
    assert what.runs == (first.run,)
    apply_pruning(old, what)
    gone = before.keys() - paths(old).keys()
    assert {name for name in gone if not name.startswith(Folder.CHAMPIONS)} == set(what.paths)
    assert {f"{folder}/" for folder in ("models", "predictions", "records", "runs")} <= {
        f"{Path(name).parts[0]}/" for name in gone
    }
    assert not [link for link in verify_run(old, last) if link.fault]


@pytest.mark.parametrize("command", ["runs", "verify", "champion list", "prune --keep 1 --dry-run"])
def test_commands_that_only_read_leave_the_root_of_an_earlier_version_as_it_is(old: Path, command: str) -> None:
    before = paths(old)
    done = subprocess.run([MNIST, *command.split(), "--root", old], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert paths(old) == before


@pytest.mark.parametrize("kept", ["records", "runs", "champions"])
def test_one_record_of_any_kind_with_a_valid_checksum_proves_a_root(old: Path, kept: str) -> None:
    for folder in {"records", "runs", "champions"} - {kept}:
        shutil.rmtree(old / folder)
    assert existing_root(old) == old
    for path in (old / kept).rglob("*.json"):
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RootError, match="is not a root of mnist"):
        existing_root(old)


def test_leftovers_of_a_killed_first_run_of_an_earlier_version_are_adopted(old: Path) -> None:
    for folder in old.iterdir():
        if folder.name not in {"scratch", "locks", "unfinished", "archives"}:
            shutil.rmtree(folder)
    assert existing_root(old) == old
    put("scratch/thesis/chapter.txt")(old)
    with pytest.raises(RootError, match="is not a root of mnist"):
        validate_root(old)


@pytest.fixture
def restored(tmp_path: Path) -> Path:
    """Return a backup without hidden files of a root whose first run was killed before its first record."""
    key = "download-0123456789abcdef"
    with (
        open_workspace(validate_root(tmp_path / "first"), "20260101-000000-some-run") as work,
        work.scratch() as scratch,
        storage_of(work.root).key_lock(key, "some-run", lambda _line, _level: None),
    ):
        claim_run_name(work.root, work.run, UUID(int=1))
        (scratch / "images.idx.gz").write_bytes(b"half")
        for place in (
            Workspace(root=work.root, run=work.run, key=key).partial("images.gz"),
            work.root / "archives/x.gz",
        ):
            place.parent.mkdir(parents=True)
            place.write_bytes(b"half")
        (work.root / "archives/x.gz").rename(work.root / "archives/x-0123456789ab.gz")
        shutil.copytree(work.root, tmp_path / "restored", ignore=shutil.ignore_patterns(".*"))
    return tmp_path / "restored"


def test_a_first_run_that_was_killed_and_restored_without_its_mark_is_adopted(restored: Path) -> None:
    before = paths(restored)
    assert {name.split("/")[0] for name in before} == {"locks", "scratch", "unfinished", "archives", "runs", "made"}
    assert existing_root(restored) == restored
    with open_workspace(validate_root(restored), "another-run"):
        pass
    assert {name: content for name, content in paths(restored).items() if name != MARK} == before, (
        "what is unproven stays"
    )


@pytest.mark.parametrize("name", ["notes.txt", "locks/x.0123456789abcdef.lock", "scratch/a-b.0123456789abcdef.txt"])
def test_names_that_only_look_signed_make_no_root(restored: Path, name: str) -> None:
    put(name)(restored)
    with pytest.raises(RootError, match="is not a root of mnist"):
        validate_root(restored)


def test_a_root_made_with_a_private_umask_stays_private(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with open_workspace(validate_root(tmp_path / "root"), "a-run") as work, work.scratch() as scratch:
            (scratch / "a.keras").write_bytes(b"")
            modes = {stat.S_IMODE(path.stat().st_mode) for path in work.root.rglob("*")}
    finally:
        os.umask(before)
    assert modes == {0o600, 0o700}


def test_a_dry_run_needs_no_right_to_write(old: Path) -> None:
    expected = plan_pruning(old, 1)
    shutil.rmtree(old / Folder.LOCKS)
    assert plan_pruning(old, 1) == expected
    assert not (old / Folder.LOCKS).exists()


@pytest.mark.parametrize("folder", ["runs", "analyses", "made"])
def test_a_file_in_the_place_of_a_folder_is_found_before_a_run(tmp_path: Path, folder: str) -> None:
    root = validate_root(tmp_path / "root")
    (root / folder).write_text("mine")
    with pytest.raises(StorageError, match=f"{folder} is not a folder, and files of runs belong there: move it"):
        validate_root(root)
    assert (root / folder).read_text() == "mine"


def test_a_dry_run_of_prune_creates_nothing_not_even_the_home_of_prefect(old: Path, tmp_path: Path) -> None:
    before = paths(tmp_path)
    command = [MNIST, "prune", "--keep", "1", "--dry-run", "--root", old]
    env = without_prefect(os.environ) | {"PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert paths(tmp_path) == before
