"""Test the command on a root with earlier runs and missing files, and on a file system without hard links."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import data, recipes

MNIST = Path(sys.executable).with_name("mnist")
NO_LINKS = """
import os


def link(*_, **__):
    raise PermissionError(1, "Operation not permitted")


os.link = link
"""


def mnist(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [MNIST, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | env)


def found(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("before")


@pytest.fixture(scope="module")
def options(folder: Path) -> list[str]:
    toml = data.make(folder / "mirror", data.FEW).toml()
    return ["run", "--dataset", str(toml), "--root", str(folder / "root"), "--epochs", "5", "--json"]


@pytest.fixture(scope="module")
def first(folder: Path, options: list[str]) -> dict[str, Any]:
    """Return the result of the first run, on a file system without hard links, with a single model."""
    (folder / "sitecustomize.py").write_text(NO_LINKS)
    text = recipes.PAIR.replace('name = "small"', 'name = "single"')
    (folder / "single.toml").write_text(text[: text.rindex("[[models]]")].replace('name = "plain"', 'name = "single"'))
    env = {"PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / "prefect")}
    return found(mnist(*options, "--recipe", folder / "single.toml", **env))


def test_a_root_without_hard_links_has_champions(first: dict[str, Any], folder: Path) -> None:
    assert (first["compared_with"], first["omitted"], first["promoted"]) == (None, [], True)
    (line,) = (folder / "root" / "champions").iterdir()
    assert [path.name for path in line.iterdir()] == ["000001.json"]


def test_a_run_after_others_of_other_models_or_without_predictions_finishes(
    first: dict[str, Any], folder: Path, options: list[str]
) -> None:
    root, small = folder / "root", ("--recipe", recipes.pair(folder))
    other = found(mnist(*options, *small))
    (omitted,) = other["omitted"]
    assert omitted["part"].startswith("comparison with run ")

    for path in (root / "predictions").iterdir():
        path.unlink()
    again = found(mnist(*options, *small, "--seed", "2"))
    assert again["compared_with"] is None
    parts = [one["part"] for one in again["omitted"]]
    assert f"comparison with run {other['run']}" in parts
    assert all(one["why"].endswith("No such file or directory") for one in again["omitted"])
    page = (root / again["report"]["html"]).read_text()
    assert page.count("left out: ") == len(parts)
    listed = json.loads(mnist("runs", "--root", root, "--json").stdout)["runs"]
    assert [run["run"] for run in listed] == [first["run"], other["run"], again["run"]]
