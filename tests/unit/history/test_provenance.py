"""Test which steps of a run count as cached."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from tasks.engine.workspace import Workspace
from tasks.history.provenance import _step_lines
from tasks.schemas.records import Origin


def test_a_step_of_an_earlier_run_or_of_an_earlier_attempt_is_cached(work: Workspace) -> None:
    def record(run: str, seconds: int) -> Any:
        at = work.began + timedelta(seconds=seconds)
        return SimpleNamespace(origin=Origin(step=f"{run} {seconds}", kind="draw", run=run, at=at, seconds=1))

    steps = [record("other-run", -60), record(work.run, -60), record(work.run, 5), SimpleNamespace(origin=None)]
    lines = _step_lines(steps, work)
    assert {line.name: line.cached for line in lines} == {
        "other-run -60": True,
        f"{work.run} -60": True,
        f"{work.run} 5": False,
    }
