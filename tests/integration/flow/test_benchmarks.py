"""Test that the benchmarks run. No test measures speed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.arms import Sample
from benchmarks.figures import FIGURES, Figure, value
from benchmarks.measure import import_seconds
from tests.support import data
from tests.support.serving import without_prefect


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        env=without_prefect(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_every_kind_of_arm_runs_and_its_samples_are_saved(tmp_path: Path) -> None:
    dataset = data.make(tmp_path / "mirror", {"train": 300, "test": 12}).toml()
    given = ("--dataset", dataset, "--mirror", tmp_path / "mirror", "--epochs", "1", "1", "--rounds", "1")
    done = bench(*given, "--only", "same,parquet,arrays,help,runs-imports,wrong-input", "--to", tmp_path / "to")

    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "to" / "benchmarks.json").read_text())
    assert set(kept["figures"]) == {"same", "parquet", "arrays", "help", "runs-imports", "wrong-input"}
    for name, found in kept["samples"].items():
        assert found[0]["seconds"] > 0, name
        assert f"| {name} |" in done.stdout
    assert (
        len(kept["samples"]["mnist run"][0]["accuracies"])
        == len(kept["samples"]["post, same work"][0]["accuracies"])
        == 2
    )
    assert kept["samples"]["mnist run"][0]["peak"] > kept["samples"]["archives to Parquet"][0]["peak"] > 0
    assert FIGURES["same"].says in (tmp_path / "to" / "benchmarks.svg").read_text()


def test_threads_per_training_are_compared_with_parallel_trainings() -> None:
    command = [sys.executable, "-m", "benchmarks.threads", "--batch", "20", "--images", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.count("|") for line in done.stdout.splitlines()[:3]] == [6, 6, 6]
    assert done.stdout.splitlines()[2].startswith("| one after the other | 1 | ")


def test_the_time_of_imports_is_the_sum_of_the_modules_own_times() -> None:
    lines = (
        "import time: self [us] | cumulative | imported package\nimport time:       250 |       9000 | os\nmnist: wrong"
    )
    assert import_seconds(f"{lines}\nimport time:       500 |        500 |   re\n") == 0.00075


def test_a_figure_that_is_not_there_is_refused() -> None:
    done = bench("--only", "nosuch")
    assert done.returncode == 2
    assert "no such figure: nosuch; the figures are same," in done.stderr


def test_a_figure_compares_two_arms_round_by_round() -> None:
    samples = {"ours": [Sample(1, 0), Sample(4, 0), Sample(9, 0)], "base": [Sample(2, 0), Sample(4, 0), Sample(3, 0)]}
    assert value(Figure("", "ours", "base", 0.5), samples) == (1.0, 0.5, 3.0, 0.5)
