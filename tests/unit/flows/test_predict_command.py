"""Test what `mnist predict` does before it loads a model: the runs here hold no real models."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli.run import cli
from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.schemas.records import SplitRecord
from tests.support.finished import finished


@pytest.fixture
def root(work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset) -> Path:
    finished(work, splits, tiny, 1)
    return Path(str(work.root))


def predict(root: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["predict", *map(str, arguments), "--root", str(root)])


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_a_missing_file_writes_no_page_and_loads_no_model(form: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    done = predict(root, tmp_path / "none.png", *form)
    assert "1 of 1 images skipped" in str(done.exception)
    assert f"skipped: {tmp_path / 'none.png'}: No such file or directory" in done.stderr
    assert not list(root.glob("pictures/*"))
    if "--json" in form:
        said = json.loads(done.stdout)
        assert (said["pictures"], said["page"]) == ([], None)
    if not form:
        assert done.stdout == ""


def test_a_folder_without_pictures_writes_no_page(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = predict(root, tmp_path / "empty")
    assert "no image found" in str(done.exception)
    assert not list(root.glob("pictures/*"))


def test_a_run_of_an_earlier_version_says_why_doubt_cannot_be_judged(root: Path, tmp_path: Path) -> None:
    said = json.loads(predict(root, tmp_path / "none.png", "--json").stdout)
    assert said["limits"] == {}
    assert "earlier version" in said["not_judged"]["plain"]


def test_a_quiet_command_still_says_why_an_image_was_skipped(root: Path, tmp_path: Path) -> None:
    done = predict(root, tmp_path / "none.png", tmp_path / "other.png", "--quiet")
    assert done.stderr == ""
    said = f"2 of 2 images skipped; the first is {tmp_path / 'none.png'}: No such file or directory; omit --quiet to see all"
    assert str(done.exception) == said
