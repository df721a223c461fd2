"""Test dry runs: what they plan for each step, and that they start and write nothing."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from artifacts.plan import show_plan
from flows.runners.dry_run import DryRun
from tasks.config.dataset import Dataset
from tasks.engine.cached_task import Hints, step, uncached_step
from tasks.engine.workspace import Workspace
from tasks.schema_version import SCHEMA_VERSION
from tasks.schemas.plan import Plan, PlannedStep
from tasks.schemas.records import ChangesRecord
from tasks.schemas.runs import RunRecord
from tasks.storage.content_files import write_content_addressed

TENSORFLOW_OR_NOT = """
import sys
from flows.cli.outcome import run_outcome
code, lines = run_outcome(sys.argv[1:])
assert code == 0, lines
print("tensorflow" in sys.modules)
"""


@step("first {text}", hints=Hints(result_name="result of {text}"))
def first(text: str, work: Workspace) -> ChangesRecord:
    """Keep a text as a file."""
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "first", ".txt", text.encode()))


@step("second")
def second(before: ChangesRecord, size: int, work: Workspace) -> ChangesRecord:
    """Depend on the first step and on a number."""
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "second", ".txt", f"{size}".encode()))


@step("last")
def last(before: list[ChangesRecord], work: Workspace) -> ChangesRecord:
    """Depend on a list of records."""
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "last", ".txt", b"last"))


@uncached_step("say", always_runs="each run says something else")
def say(text: str, work: Workspace) -> str:
    """Return a text."""
    return text


def planned(work: Workspace, text: str = "a", size: int = 1) -> dict[str, PlannedStep]:
    dry = DryRun(work.root)
    before = dry.submit_here(first, text, dry.work)
    dry.submit_here(last, [dry.submit(second, before, size, dry.work)], dry.work)
    return {one.name.split()[0]: one for one in dry.steps}


def compute(work: Workspace) -> ChangesRecord:
    found = first.fn("a", work)
    last.fn([second.fn(found, 1, work)], work)
    return found


def plans(plan: dict[str, PlannedStep]) -> list[str]:
    return [one.plan for one in plan.values()]


def test_all_steps_are_computed_without_earlier_records(work: Workspace) -> None:
    plan = planned(work)
    assert plans(plan) == ["compute"] * 3
    assert {one.why for one in plan.values()} == {"for the first time"}


def test_a_cached_step_names_the_run_that_made_its_record(work: Workspace) -> None:
    compute(work)
    plan = planned(work)
    assert plans(plan) == ["cached"] * 3
    assert {one.run for one in plan.values()} == {"this-run"}
    assert all(one.at and one.timed == 1 for one in plan.values())


def test_a_damaged_file_is_computed_and_what_depends_on_it_is_open(work: Workspace) -> None:
    (work.root / compute(work).file.path).write_bytes(b"b")
    plan = planned(work)
    assert plans(plan) == ["compute", "depends", "depends"]
    assert "altered" in plan["first"].why
    assert [one.depends_on for one in plan.values()] == [(), ("first a",), ("first a",)]


def test_a_step_with_another_known_input_is_computed_whatever_its_other_inputs_are(work: Workspace) -> None:
    compute(work)
    plan = planned(work, text="b", size=2)
    assert plans(plan) == ["compute", "compute", "depends"]
    assert plan["second"].why == "input size: 1 -> 2"
    assert plan["last"].depends_on == ("second",)


def test_a_step_that_always_runs_keeps_its_time_in_the_workspace(work: Workspace) -> None:
    assert say.fn("a", work) == "a"
    (origin,) = work.uncached
    assert (origin.step, origin.kind, origin.run) == ("say", "say", work.run)
    assert origin.why == "always runs: each run says something else"


def test_a_step_that_always_runs_is_planned_last(work: Workspace, tiny: Dataset) -> None:
    plan = DryRun(work.root).plan(tiny, (say,), RunRecord)
    (found,) = plan.steps
    assert (found.name, found.plan, found.why) == ("say", "always", "each run says something else")


PLAN = Plan(
    root="data",
    dataset="tiny",
    steps=(
        PlannedStep(
            name="download train-images-idx3-ubyte.gz",
            kind="download",
            plan="cached",
            run="20261128-194240-calm-seahorse",
            seconds=1,
            timed=1,
        ),
        PlannedStep(
            name="train batch_norm",
            kind="train",
            plan="compute",
            why="input training.seed: 1 -> 4",
            seconds=10,
            timed=2,
        ),
        PlannedStep(
            name="evaluate batch_norm on test",
            kind="evaluate",
            plan="depends",
            depends_on=("train batch_norm",),
            seconds=20,
            timed=2,
        ),
        PlannedStep(name="draw", kind="draw", plan="compute", why="for the first time"),
        PlannedStep(name="report", kind="report", plan="always", why="each run has a report of its own", seconds=3),
    ),
)


def test_the_estimate_adds_what_is_computed_and_what_may_be_computed() -> None:
    assert (PLAN.seconds, PLAN.most_seconds, PLAN.untimed) == (13, 33, ("draw",))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    show_plan(PLAN)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capfd.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    assert "5 steps: 1 cached, 2 to compute, 1 that always run" in " ".join(lines)
    assert "estimated time: 13.0 s to 33.0 s, without 1 step" in " ".join(lines)
    assert any("train-images-idx3-ubyte.gz" in line for line in lines)


@pytest.mark.parametrize("command", ["run", "study"])
def test_a_dry_run_starts_and_writes_nothing_and_needs_no_tensorflow(command: str, tmp_path: Path) -> None:
    # Nothing listens at this address: a dry run must not need the server.
    env = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    options = [command, "--dry-run", "--root", str(tmp_path / "root"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", TENSORFLOW_OR_NOT, *options], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document, imported = done.stdout.splitlines()
    plan: dict[str, Any] = json.loads(document)
    assert plan["schema_version"] == SCHEMA_VERSION
    assert {one["plan"] for one in plan["steps"]} == {"compute", "always"}
    assert imported == "False"
    assert done.stderr == ""
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_writes_nothing_in_a_terminal_either(tmp_path: Path) -> None:
    """Prefect's telemetry writes notes in terminals only."""
    env = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect")}
    for name in ("CI", "DO_NOT_TRACK", "GITHUB_ACTIONS"):
        env.pop(name, None)
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "flows.cli.app", "run", "--dry-run", "--root", str(tmp_path / "root")]
    with subprocess.Popen(command, env=env, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while chunk := read(main):
            shown += chunk
    os.close(main)
    assert process.returncode == 0
    assert b"Prefect" not in shown
    assert not [*tmp_path.iterdir()]


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's sign of the end
        return b""
