"""Test that no foreign file is removed or changed.

`python -m tests.reliability foreign` does the complete test, with real runs.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace, open_workspace, stale_files
from tasks.errors import StorageError
from tasks.history.champions import roll_back
from tasks.history.prune import apply_pruning, plan_pruning
from tasks.history.verify import verify_run
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import RunRecord
from tasks.storage.content_files import move_into_store, write_content_addressed, write_text
from tasks.storage.folders import Folder
from tasks.storage.page_records import write_page
from tasks.storage.root_marker import mark_root
from tasks.storage.roots import validate_root
from tasks.storage.storage import storage_of
from tests.support.finished import crown, finished
from tests.support.foreign import Seeds, behind_links, seed


@pytest.fixture
def runs(work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset) -> list[RunRecord]:
    validate_root(work.root)
    return [finished(work, splits, tiny, number) for number in (1, 2, 3, 4)]


def silent(_line: str, _level: int) -> None:
    pass


def died_at(work: Workspace) -> list[Path]:
    """Create each kind of temporary file that a killed run leaves, as a run creates it, and return the paths."""
    scratch = Workspace(root=work.root, run="died").scratch()
    folder = scratch.__enter__()  # never exited
    signed = [folder / "plain.keras", folder / "epoch.weights.h5"]
    for path in signed:
        path.write_bytes(b"half")
    mark, step = mark_root(work.root), work.model_copy(update={"key": "train-0123456789abcdee"})
    locked = work.root / "locks" / mark.signed("train-0123456789abcdef", ".lock")
    page = work.root / "runs" / "died" / mark.signed(".report.html.0123abcd", ".part")
    for path in (locked, page, step.partial("archive.gz")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (work.root / "records" / f"{step.key}.json").write_bytes(b"its step was kept")
    return [*signed, locked, page, step.partial("archive.gz"), step.resume_dir]


def test_no_command_changes_or_removes_foreign_files(work: Workspace, runs: list[RunRecord], tmp_path: Path) -> None:
    seeds = Seeds()
    crown(work, runs[0], 1, None)
    crown(work, runs[3], 2, 1)
    seed(work.root, tmp_path / "outside", seeds)
    assert len(seeds.seen) > 900
    dead = died_at(work)
    seed(work.root, tmp_path / "outside", seeds)
    seeds.add(work.root / "unfinished" / dead[-1].name / "thesis.txt")
    seeds.add(work.root / "comparisons" / "a..b.html")
    with open_workspace(work.root, "this-run") as again, alone_is_waited_for(again):
        write_page(work.root, "comparisons/a..b.html", "ours", ("a", "b"))
    assert seeds.lost() == []
    assert not [path for path in dead[:-1] if path.exists()], "what is ours goes"
    assert list(stale_files(work.root)) == [dead[-1]], "but for the folder that holds something else"
    roll_back(work.root, "line")
    what = plan_pruning(work.root, 1)
    before = {path for path in work.root.rglob("*") if not path.is_dir() or path.is_symlink()}
    with storage_of(work.root).exclusive_lock("mnist prune", silent):
        apply_pruning(work.root, what)
    after = {path for path in work.root.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert {path.relative_to(work.root).as_posix() for path in before - after} == {
        name for name in what.paths if not (work.root / name).is_dir()
    } - {str(path.relative_to(work.root)) for path in dead}
    assert seeds.lost() == []
    for run in (runs[0], runs[3]):
        assert not [
            link.fault for link in verify_run(work.root, run) if link.fault and not link.path.startswith("records")
        ]


WRITES: dict[str, Callable[[Workspace], object]] = {
    "a run": lambda work: open_workspace(work.root, "this-run").__enter__(),
    "a root": lambda work: validate_root(work.root),
    "a file": lambda work: write_content_addressed(work.root, "models", "plain", ".keras", b"weights"),
    "a moved file": lambda work: move_into_store(work.root, "models", "plain", ".keras", work.root / "x.txt"),
    "a page": lambda work: write_page(work.root, "comparisons/a..b.html", "ours", ("a", "b")),
    "a picture": lambda work: write_text(work.root, "pictures/a.html", "ours"),
    "an entry": lambda work: roll_back(work.root, "line"),
    "a temporary file": lambda work: work.scratch().__enter__(),
    "an unfinished file": lambda work: work.model_copy(update={"key": "train-0123456789abcdee"}).resume_dir,
    "a key": lambda work: alone_is_waited_for(work).__enter__(),
    "the root's lock": lambda work: storage_of(work.root).exclusive_lock("mnist prune", silent).__enter__(),
}


@pytest.fixture
def linked(work: Workspace, runs: list[RunRecord], tmp_path: Path) -> Path:
    """Return the folder that all folders of a root were moved to, with links in their places."""
    crown(work, runs[0], 1, None)
    crown(work, runs[3], 2, 1)
    (work.root / "x.txt").write_bytes(b"x")
    behind_links(work.root, tmp_path / "outside", Seeds())
    return tmp_path / "outside"


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_behind_links(linked: Path, work: Workspace, write: str) -> None:
    before = {path: path.lstat().st_mtime_ns for path in linked.rglob("*")}
    with pytest.raises(StorageError, match="is a symbolic link, and nothing is written through links"):
        WRITES[write](work)
    assert {path: path.lstat().st_mtime_ns for path in linked.rglob("*")} == before


def test_files_behind_links_are_read_and_not_removed(linked: Path, work: Workspace, runs: list[RunRecord]) -> None:
    assert linked.is_dir()
    assert plan_pruning(work.root, 1).planned == ()
    assert not [link.fault for link in verify_run(work.root, runs[0]) if link.fault and "records" not in link.path]


def test_a_lock_that_is_a_link_to_nowhere_makes_no_file(work: Workspace) -> None:
    path = validate_root(work.root) / Folder.LOCKS / "root.lock"
    path.parent.mkdir()
    path.symlink_to(work.root.parent / "elsewhere")
    for write in ("a run", "the root's lock"):
        with pytest.raises(StorageError, match=r"root\.lock is a symbolic link"):
            WRITES[write](work)
    assert not (work.root.parent / "elsewhere").exists()


def alone_is_waited_for(work: Workspace):  # noqa: ANN201
    """Lock a key of the workspace's root, as a step does."""
    return storage_of(work.root).key_lock("train-0123456789abcded", "run this-run", silent)


def test_changed_files_of_a_run_stay_when_the_run_is_pruned(work: Workspace, runs: list[RunRecord]) -> None:
    folder = work.root / "runs" / runs[0].run
    (page,) = folder.glob("report-*")
    page.write_bytes(b"with my notes")
    (folder / "notes.txt").write_bytes(b"mine")
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert {path.name for path in folder.iterdir()} == {page.name, "notes.txt"}
    assert not (work.root / "runs" / runs[1].run).exists()


def test_copies_of_project_files_are_not_pruned(work: Workspace, runs: list[RunRecord]) -> None:
    shutil.copytree(work.root / "runs" / runs[0].run, work.root / "runs" / "the best one")
    model = work.root / runs[0].models[0].file.path
    copies = [Path(shutil.copy(model, model.with_name(name))) for name in ("a copy.keras", "plain-0123456789ab.keras")]
    os.link(model, model.with_name("linked.keras"))
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert not model.exists()
    assert all(path.exists() for path in (*copies, model.with_name("linked.keras")))
    assert (work.root / "runs" / "the best one" / "run.json").exists()


def test_a_file_that_became_a_folder_or_a_link_stays(work: Workspace, runs: list[RunRecord], tmp_path: Path) -> None:
    one, other = (work.root / run.models[0].file.path for run in runs[:2])
    content = other.read_bytes()
    one.unlink()
    (one / "inside").mkdir(parents=True)
    other.rename(tmp_path / "elsewhere")
    other.symlink_to(tmp_path / "elsewhere")
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert (one / "inside").is_dir()
    assert other.is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == content


def test_a_record_that_names_a_file_elsewhere_reaches_nothing(
    work: Workspace, runs: list[RunRecord], tmp_path: Path
) -> None:
    thesis = write_content_addressed(tmp_path, "mine", "thesis", ".txt", b"mine")
    link = runs[0].manifest[-1]
    for path in ("../mine/" + Path(thesis.path).name, str(tmp_path / thesis.path), *INSIDE):
        file = thesis.model_copy(update={"path": path})
        record = runs[0].model_copy(update={"manifest": (*runs[0].manifest, link.model_copy(update={"file": file}))})
        from tasks.history.run_store import save_run

        save_run(record, work)
        if path in INSIDE:
            assert path not in plan_pruning(work.root, 1).paths
        else:
            with pytest.raises(StorageError, match="move that run's folder away first"):
                plan_pruning(work.root, 1)
    save_run(runs[0], work)
    apply_pruning(work.root, plan_pruning(work.root, 1))
    assert (tmp_path / thesis.path).read_bytes() == b"mine"


INSIDE = ("locks/root.lock", "mirror/mnist/README.md")  # but not in places where records name files


def test_a_page_with_notes_in_it_is_not_written_over(work: Workspace) -> None:
    pages = [write_page(work.root, "comparisons/a..b.html", text, ("a", "b")).path for text in ("one", "two")]
    assert pages == ["comparisons/a..b.html"] * 2
    (work.root / pages[0]).write_text("two, with notes")
    assert write_page(work.root, "comparisons/a..b.html", "three", ("a", "b")).path == "comparisons/a..b-2.html"
    assert (work.root / pages[0]).read_text() == "two, with notes"


def test_a_lock_of_others_is_locked_and_left_as_it_is(work: Workspace) -> None:
    path = validate_root(work.root) / Folder.LOCKS / "root.lock"
    with storage_of(work.root).atomic_write("locks/root.lock") as stream:
        stream.write(b"\xff mine")
    with storage_of(work.root).exclusive_lock("mnist prune", silent):
        pass
    with open_workspace(work.root, "this-run"):
        pass
    assert path.read_bytes() == b"\xff mine"
