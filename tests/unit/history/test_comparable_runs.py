"""Test which earlier run and which champions a run is compared with."""

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tasks.config.dataset import load_dataset
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.history.champions import champion_history, champion_lines
from tasks.history.comparable_runs import current_champion_line, predecessor
from tasks.history.run_store import finished_runs, save_run
from tasks.schemas.analysis import Check, Decision
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import FlowRun, RunRecord, champion_line, earlier_champion_line
from tasks.steps.champion import promote
from tests.conftest import decoded
from tests.support import data
from tests.support.finished import finished

FIXTURE = Path(__file__).parents[2] / "fixtures" / "root-bccf637.tar.xz"
PASSED = Decision(challenger="plain", champion=None, margin=None, checks=(Check(name="c", passed=True, found="f"),))
FLOW_RUN = FlowRun(id=UUID(int=1), flow=UUID(int=2), at="here", root="root")

Make = Callable[..., RunRecord]


@pytest.fixture
def make(work: Workspace, splits: dict[str, SplitRecord], tiny: Any) -> Make:
    """Return a function that makes a finished run, with a model of its own."""

    def run(number: int, **changes: Any) -> RunRecord:
        made = finished(work, splits, tiny, number)
        return save_run(made.model_copy(update={"number": number, **changes}), work)

    return run


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a root of an earlier version, whose records have no digest of the labels."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "root"


def test_archives_that_are_compressed_again_hold_the_same_test_images(
    make: Make, files: data.Files, work: Workspace
) -> None:
    before = make(1)
    for name in data.NAMES["test"]:
        files.write(name, gzip.compress(gzip.decompress((files.folder / name).read_bytes()), 9, mtime=1))
    again = decoded(load_dataset(str(files.toml())), work)["test"]
    assert again.archives != before.test.archives
    assert again.file != before.test.file
    now = make(2, test=again)
    assert champion_line(now) == champion_line(before)
    assert predecessor(work.root, now).run == before


@pytest.mark.parametrize(
    "other", [{"shape": (14, 56)}, {"classes": tuple("abcdefghij")}, {"labels_sha256": "0" * 64}, {"pixels_sha256": "0" * 64}]
)  # fmt: skip
def test_test_images_of_another_content_are_others_even_from_the_same_archives(
    make: Make, work: Workspace, other: dict[str, Any]
) -> None:
    before = make(1)
    now = make(2, test=before.test.model_copy(update=other))
    assert champion_line(now) != champion_line(before)
    found, (omission,) = predecessor(work.root, now)
    assert found is None
    assert omission.why == "it was evaluated on different test images, labels or classes"


def test_labels_are_the_same_whatever_type_their_archive_has(tmp_path: Path, work: Workspace) -> None:
    arrays = {split: (data.first(images, 40), data.first(labels, 40)) for split, (images, labels) in data.NAMES.items()}
    wide = {split: (images, labels.astype(np.int16)) for split, (images, labels) in arrays.items()}
    one, other = (
        decoded(load_dataset(str(data.of_arrays(tmp_path / name, made).toml())), work)["test"]
        for name, made in (("narrow", arrays), ("wide", wide))
    )
    assert one.archives[1] != other.archives[1]
    assert one.content_sha256 == other.content_sha256


def test_a_retry_is_compared_with_the_run_before_the_first_attempt(make: Make, work: Workspace) -> None:
    night = make(1, flow_run=FLOW_RUN.model_copy(update={"id": UUID(int=9)}))
    attempt = make(2, flow_run=FLOW_RUN)
    retry = make(3, flow_run=FLOW_RUN)
    found, (omission,) = predecessor(work.root, retry)
    assert found == night
    assert omission.line == (
        f"left out: comparison with run {attempt.run}: it is an earlier attempt of the same flow run"
    )
    assert predecessor(work.root, attempt.model_copy(update={"run": "another"})).run == night


def test_a_run_of_the_same_models_is_not_the_run_to_compare_with(make: Make, work: Workspace) -> None:
    night, second = make(1), make(2)
    again = make(3, models=second.models)
    found, (omission,) = predecessor(work.root, again)
    assert found == night
    assert omission.line == (
        f"left out: comparison with run {second.run}: its models are the same files, so nothing can have changed"
    )


def of_this_version(run: RunRecord, splits: dict[str, SplitRecord], number: int) -> RunRecord:
    """Return a run like one of an earlier version, with models of its own, as this version would record it."""
    name = f"2026120{number}-000000-run-{number}"
    model = run.models[0].file.model_copy(update={"sha256": f"{number}" * 64})
    models, predictions = (
        tuple(one.model_copy(update={"file": model}) for one in some) for some in (run.models, run.predictions)
    )
    return run.model_copy(update={"run": name, "models": models, "predictions": predictions, "number": 0, **splits})


def test_earlier_runs_and_champions_of_an_earlier_version_are_found(old: Path, tmp_path: Path) -> None:
    work = Workspace(root=old, run="this-run")
    *_, before = finished_runs(old)
    assert before.test.labels_sha256 is None
    files = data.make(tmp_path / "mirror", {"train": 200, "test": 6})
    now = of_this_version(before, decoded(load_dataset(str(files.toml())), work), 1)
    assert predecessor(old, now).run == before
    (line,) = champion_lines(old)
    assert line == earlier_champion_line(now) != champion_line(now)
    assert current_champion_line(now, old) == line

    entry = promote.fn(now, PASSED.model_copy(update={"champion": champion_history(old, line)[-1].title}), work)
    assert entry is not None
    assert (entry.number, champion_lines(old)) == (3, [line])


def test_a_line_of_an_earlier_version_is_found_by_a_run_whose_archives_are_compressed_again(
    old: Path, tmp_path: Path
) -> None:
    work = Workspace(root=old, run="this-run")
    *_, before = finished_runs(old)
    files = data.make(tmp_path / "mirror", {"train": 200, "test": 6})
    for name in data.NAMES["test"]:
        files.write(name, gzip.compress(gzip.decompress((files.folder / name).read_bytes()), 9, mtime=1))
    now = of_this_version(before, decoded(load_dataset(str(files.toml())), work), 1)
    (line,) = champion_lines(old)
    assert line not in {earlier_champion_line(now), champion_line(now)}
    assert current_champion_line(now, old) == line
    other = now.model_copy(update={"line": "nightly"})
    assert current_champion_line(other, old) == champion_line(other)


def test_a_line_of_an_earlier_version_with_other_test_images_is_another_line(old: Path, tmp_path: Path) -> None:
    work = Workspace(root=old, run="this-run")
    *_, before = finished_runs(old)
    files = data.make(tmp_path / "mirror", {"train": 200, "test": 6})
    splits = decoded(load_dataset(str(files.toml())), work)
    coarse = splits["test"].model_copy(update={"labels_sha256": "0" * 64})  # another member of the same zip file
    now = of_this_version(before, {**splits, "test": coarse}, 1)
    assert earlier_champion_line(now) in champion_lines(old)
    assert current_champion_line(now, old) == champion_line(now)
    assert predecessor(old, now).run is None

    # Without the record of its run or the file of its split, the champion is not known to have other test images.
    (old / before.test.file.path).unlink()
    assert current_champion_line(now, old) == earlier_champion_line(now)
    found, (omission,) = predecessor(old, now)
    assert found is None
    assert "its test labels are unknown" in omission.why


def test_a_champion_entry_that_exists_but_is_not_listed_ends_the_promotion(
    make: Make, work: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(1)
    folder = work.root / "champions" / champion_line(run)
    folder.mkdir(parents=True)
    (folder / "000001.json").touch()
    for module in ("tasks.steps.champion", "tasks.history.comparable_runs"):
        monkeypatch.setattr(f"{module}.champion_history", lambda *_: [])
    with pytest.raises(StorageError, match=r"can't add entry 000001\.json .*: the file exists, but is not listed"):
        promote.fn(run, PASSED, work)


def test_a_record_with_a_name_that_is_too_long_for_input_can_be_read(make: Make, work: Workspace) -> None:
    run = make(1)
    networks = tuple(one.model_copy(update={"name": "n" * 70}) for one in run.recipe.models)
    recipe = run.recipe.model_copy(update={"name": "r" * 70, "models": networks[:1]})
    save_run(run.model_copy(update={"recipe": recipe}), work)
    assert [one.recipe for one in finished_runs(work.root)] == [recipe]
