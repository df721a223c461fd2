"""Test the command on a root with earlier runs and missing files, and on a file system without hard links."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import data, recipes
from tests.support.command import Mnist


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("before")


@pytest.fixture(scope="module")
def options(folder: Path) -> list[str]:
    toml = data.make(folder / "mirror", data.FEW).toml()
    return ["run", "--dataset", str(toml), "--root", str(folder / "root"), "--epochs", "5"]


@pytest.fixture(scope="module")
def first(mnist: Mnist, folder: Path, options: list[str]) -> dict[str, Any]:
    """Return the result of the first run, on a file system without hard links, with a single model."""
    text = recipes.PAIR.replace('name = "small"', 'name = "single"')
    (folder / "single.toml").write_text(text[: text.rindex("[[models]]")].replace('name = "plain"', 'name = "single"'))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refused)
        return mnist.result(*options, "--recipe", folder / "single.toml")


def test_a_root_without_hard_links_has_champions(first: dict[str, Any], folder: Path) -> None:
    assert (first["compared_with"], first["omitted"], first["promoted"]) == (None, [], True)
    (line,) = (folder / "root" / "champions").iterdir()
    assert [path.name for path in line.iterdir()] == ["000001.json"]


def test_a_run_after_others_of_other_models_or_without_predictions_finishes(
    mnist: Mnist, first: dict[str, Any], folder: Path, options: list[str]
) -> None:
    root, small = folder / "root", ("--recipe", recipes.pair(folder))
    other = mnist.result(*options, *small)
    (omitted,) = other["omitted"]
    assert omitted["part"].startswith("comparison with run ")

    for path in (root / "predictions").iterdir():
        path.unlink()
    again = mnist.result(*options, *small, "--seed", "2")
    assert again["compared_with"] is None
    parts = [one["part"] for one in again["omitted"]]
    assert f"comparison with run {other['run']}" in parts
    assert all(one["why"].endswith("No such file or directory") for one in again["omitted"])
    page = (root / again["report"]["html"]).read_text()
    assert page.count("left out: ") == len(parts)
    listed = mnist.result("runs", "--root", root)["runs"]
    assert [run["run"] for run in listed] == [first["run"], other["run"], again["run"]]
