"""Test which names the shell can complete, and that a completion imports nothing heavy and never fails."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from flows.cli.run import cli
from tasks.config.dataset import built_in_datasets
from tasks.storage.folders import Folder

LATEST, EARLIER, STUDY = "20260203-120000-calm-otter", "20260202-120000-bold-heron", "20260204-120000-wise-crane"
LINES = ("mnist-f29801d16e52", "mnist-f29801d16e52-nightly", "kmnist-d9fd983f7dde", "of-others")
# Packages whose import takes longer than the rest of a completion.
HEAVY = {
    "pydantic",
    "numpy",
    "prefect",
    "rich",
    "s3fs",
    "upath",
    "tensorflow",
    "tasks.config.recipe",
    "tasks.schemas.runs",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for run, record in ((LATEST, "run.json"), (EARLIER, "run.json"), (STUDY, "study.json"), ("unfinished", "x.json")):
        (tmp_path / Folder.RUNS / run).mkdir(parents=True)
        (tmp_path / Folder.RUNS / run / record).touch()
    for line in LINES:
        (tmp_path / Folder.CHAMPIONS / line).mkdir(parents=True)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path))
    return tmp_path


def items(*words: str) -> list[CompletionItem]:
    """Return the completions of the last word."""
    return ShellComplete(cli, {}, "mnist", "_MNIST_COMPLETE").get_completions(list(words[:-1]), words[-1])


def names(*words: str) -> list[str]:
    return [item.value for item in items(*words)]


@pytest.mark.parametrize("command", ["run", "study"])
def test_recipes_and_datasets_are_completed_with_their_descriptions(command: str) -> None:
    assert names(command, "--recipe", "on") == ["onecycle"]
    assert names(command, "--dataset", "") == sorted(one.name for one in built_in_datasets())
    (found,) = items(command, "--recipe", "onecycle")
    assert "one-cycle learning rate" in str(found.help)


@pytest.mark.parametrize("option", ["--recipe", "--dataset"])
def test_a_path_is_completed_by_the_shell(option: str) -> None:
    assert [(item.type, item.value) for item in items("run", option, "./mine")] == [("file", "./mine")]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("words", [("compare",), ("compare", "last"), ("predict", "--run")])
def test_finished_runs_are_completed_latest_first(words: Sequence[str]) -> None:
    assert names(*words, "") == ["last", LATEST, EARLIER]
    assert names(*words, "20260202") == [EARLIER]


@pytest.mark.usefixtures("root")
def test_studies_are_completed_where_they_can_be_verified() -> None:
    assert names("verify", "") == ["last", STUDY, LATEST, EARLIER]


@pytest.mark.usefixtures("root")
def test_champion_lines_are_completed_by_the_names_that_users_gave() -> None:
    assert names("run", "--champion-line", "") == ["main", "nightly"]
    assert names("champion", "rollback", "") == ["kmnist:main", "mnist:main", "nightly"]


def test_the_root_of_the_command_line_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_ROOT", str(root / "elsewhere"))
    assert names("verify", "") == ["last"]
    assert STUDY in names("verify", "--root", str(root), "")
    assert "nightly" in names("champion", "--root", str(root), "rollback", "")


@pytest.mark.parametrize("place", ["s3://bucket/prefix", "~nobody-such/x", "ftp://host/", "/dev/null"])
def test_a_root_that_can_t_be_listed_at_once_offers_no_runs(place: str) -> None:
    assert set(names("verify", "--root", place, "")) <= {"last"}
    assert names("champion", "rollback", "--root", place, "") == []


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    "words", ["run --recipe ", "run --dataset ", "verify ", "champion rollback ", "run --champion-line "]
)
def test_a_completion_imports_nothing_heavy(words: str) -> None:
    shell = {
        "_MNIST_COMPLETE": "bash_complete",
        "COMP_WORDS": f"mnist {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    command = [sys.executable, "-P", "-X", "importtime", "-m", "flows.cli.app"]
    done = subprocess.run(command, env=os.environ | shell, capture_output=True, text=True, check=True)
    assert "plain," in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not HEAVY & imported
