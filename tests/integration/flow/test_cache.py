"""Test which steps a change recomputes, and that a dry run says so before.

The code, the libraries and the inputs of a copy of the project are changed one at a time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from tests.support import data, recipes
from tests.support.plans import named, require_agreement

PROJECT = Path(__file__).parents[3]
SECONDS = 240

EXPLAINED = {"explain plain", "explain batch_norm"}
EVALUATED = {f"evaluate {name} on test" for name in ("plain", "batch_norm")}
ATTRIBUTED = {f"attribute {name}" for name in ("plain", "batch_norm")}
DESCRIBED = {"describe plain", "describe batch_norm"}
TRAINED = {"train plain", "train batch_norm"}


class Copy:
    """A copy of the project with a separate root."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.extra = folder / "project", folder / "root", folder / "extra"
        for name in ("flows", "tasks", "artifacts"):
            shutil.copytree(PROJECT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.dataset = data.make(folder / "mirror", {"train": 300, "test": 20}).toml()
        self.recipe = recipes.pair(folder)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        given = ["--dataset", str(self.dataset), "--root", str(self.root), "--recipe", self.recipe, "--no-gate"]
        env = {"PYTHONPATH": f"{self.folder}:{self.extra}", "PREFECT_API_URL": str(PREFECT_API_URL.value())}
        return subprocess.run(
            [sys.executable, "-m", "flows.cli.app", "run", *given, *options],
            cwd=self.folder, env=os.environ | env, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    def result(self, *options: str) -> dict[str, Any]:
        done = self.run("--json", *options)
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def plan(self, *options: str) -> dict[str, Any]:
        """Return the plan of a dry run, which changes no file."""
        before = self.files()
        found = self.result("--dry-run", *options)
        assert self.files() == before
        return found

    def files(self) -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in self.root.rglob("*")}

    def computed(self, *options: str) -> dict[str, str]:
        """Run the flow and return the computed steps with the reason for each, if they are those of a dry run before."""
        plan = self.plan(*options)
        steps = self.result(*options)["steps"]
        require_agreement(plan, steps)
        return {step["name"]: step["origin"]["why"] for step in steps if not step["cached"] and not step["always_runs"]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, prefect: None) -> Copy:
    """Return the copy after its first run."""
    copy = Copy(tmp_path_factory.mktemp("cache"))
    computed = copy.computed()
    assert len(computed) == 21
    assert set(computed.values()) == {"for the first time"}
    return copy


def test_changed_code_recomputes_the_steps_that_depend_on_it_and_a_comment_or_a_docstring_recomputes_none(
    copy: Copy,
) -> None:
    for path in copy.folder.rglob("*.py"):
        text = path.read_text()
        path.write_text("# Another comment.\n" + re.sub(r'"""(\w)', r'"""In other words: \1', text))
    path = copy.folder / "tasks/images/occlusion.py"
    path.write_text(path.read_text() + "\nUNUSED = 1\n")
    assert copy.computed() == dict.fromkeys(
        EXPLAINED | {"analyze"}, "code: tasks.images.occlusion"
    )  # the analysis uses the module's window


def test_another_input_recomputes_what_depends_on_it(copy: Copy) -> None:
    computed = copy.computed("--seed", "5")
    expected = TRAINED | EVALUATED | ATTRIBUTED | EXPLAINED | DESCRIBED | {"analyze", "draw"}
    assert set(computed) == expected | ({"select"} & set(computed))
    assert all(computed[step] == "input training.seed: 1 -> 5" for step in TRAINED)
    assert all(computed[step] == "changed files: model" for step in EVALUATED)
    assert all(computed[step] == "changed files: model, predictions" for step in ATTRIBUTED)
    assert computed["analyze"].startswith("changed files: models, predictions, attributions")


def test_a_dry_run_knows_what_another_number_of_epochs_recomputes(copy: Copy) -> None:
    plan = copy.plan("--epochs", "2")
    assert named(plan, "compute") == TRAINED | {"analyze"}
    assert EVALUATED | ATTRIBUTED | EXPLAINED | DESCRIBED | {"select", "draw"} == named(plan, "depends")
    once = {step["name"]: step["seconds"] for step in copy.plan()["steps"]}
    assert all(
        step["seconds"] == pytest.approx(2 * once[step["name"]]) for step in plan["steps"] if step["name"] in TRAINED
    )
    assert set(copy.computed("--epochs", "2")) >= TRAINED | EVALUATED | {"analyze"}


def test_an_input_that_changes_no_file_stops_there(copy: Copy) -> None:
    text = copy.dataset.read_text()
    copy.dataset.write_text(text.replace('license = "as MNIST"', 'license = "as it was"'))
    said = "input dataset.license: as MNIST -> as it was"
    assert copy.computed() == {
        "decode train": said,
        "decode test": said,
        "analyze": said,
        "draw": "changed files: analysis",
    }


def test_a_library_and_missing_files_recompute_their_steps_which_explain_and_the_report_show(copy: Copy) -> None:
    information = copy.extra / "statsmodels-99.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: statsmodels\nVersion: 99.0\n")
    (train,), (test,) = copy.root.glob("splits/train-*.parquet"), copy.root.glob("splits/test-*.parquet")
    train.unlink()
    test.write_bytes(b"")
    plan = copy.plan()
    done = copy.run("--explain")
    assert re.search(r"│ decode test +│ no     │ .* has 0 bytes, not [\d,]+ +│ this run", done.stdout), done.stdout
    assert re.search(r"│ train plain +│ yes ", done.stdout)
    for name in ("compare", "judge", "report", "promote"):
        assert re.search(rf"│ {name} +│ no     │ always runs: [^│]+│ this run +│ +\d", done.stdout), done.stdout
    (report,) = re.findall(r"report: +(\S+)\.html", done.stdout)
    assert re.search(r"\| decode test \| no \| .*has 0 bytes", Path(f"{report}.md").read_text())
    steps = json.loads(Path(f"{report}.json").read_text())["provenance"]["steps"]
    computed = {step["name"]: step["origin"]["why"] for step in steps if not step["cached"]}
    assert named(plan, "compute") <= set(computed) <= named(plan, "compute") | named(plan, "depends")
    assert set(computed) == {"decode train", "decode test", "attribute plain", "attribute batch_norm", "analyze"}
    assert "No such file" in computed["decode train"]
    assert computed["analyze"] == f"library statsmodels: {metadata.version('statsmodels')} -> 99.0"
