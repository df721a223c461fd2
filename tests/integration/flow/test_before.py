"""Test the command on a root with earlier runs and missing files, and on a file system without hard links."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import data

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
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.make(tmp_path_factory.mktemp("mirror"), data.FEW).toml()


def test_a_run_after_others_of_other_models_or_without_predictions_finishes(toml: Path, tmp_path: Path) -> None:
    options = ("run", "--dataset", toml, "--root", tmp_path / "root", "--epochs", "5", "--json")
    first = found(mnist(*options, "--recipe", "dropout"))
    assert (first["compared_with"], first["omitted"], first["promoted"]) == (None, [], True)
    other = found(mnist(*options))
    (omitted,) = other["omitted"]
    assert omitted["part"].startswith("comparison with run ")

    for path in (tmp_path / "root" / "predictions").iterdir():
        path.unlink()
    again = found(mnist(*options, "--seed", "2"))
    assert again["compared_with"] is None
    parts = [one["part"] for one in again["omitted"]]
    assert f"comparison with run {other['run']}" in parts
    assert all(one["why"].endswith("No such file or directory") for one in again["omitted"])
    page = (tmp_path / "root" / again["report"]["html"]).read_text()
    assert page.count("left out: ") == len(parts)
    listed = json.loads(mnist("runs", "--root", tmp_path / "root", "--json").stdout)["runs"]
    assert [run["run"] for run in listed] == [first["run"], other["run"], again["run"]]


def test_a_root_without_hard_links_has_champions(toml: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_LINKS)
    root, env = tmp_path / "root", {"PYTHONPATH": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    options = ("run", "--dataset", toml, "--root", root, "--epochs", "5", "--recipe", "dropout", "--json")
    result = found(mnist(*options, **env))
    assert result["promoted"]
    assert result["omitted"] == []
    (line,) = (root / "champions").iterdir()
    assert [path.name for path in line.iterdir()] == ["000001.json"]
