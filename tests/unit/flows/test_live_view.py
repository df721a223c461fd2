"""Test which lines of a run the live view shows on a small terminal."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from artifacts.screen import Screen
from flows.cli.live_view import RunView, latest_runs

RUNS: list[Any] = [
    SimpleNamespace(id=uuid4(), name=f"step {number}", state_name=state)
    for number, state in enumerate(("Completed", "Running", "Cached", "Completed", "Failed", "Running"))
]


def shown(room: int, height: int = 1) -> list[int]:
    return [RUNS.index(run) for run in latest_runs(RUNS, room, lambda _run: height)]


def test_all_steps_are_shown_if_they_fit() -> None:
    assert shown(6) == [0, 1, 2, 3, 4, 5]


def test_running_steps_and_the_latest_of_the_others_are_shown_in_order() -> None:
    assert shown(4) == [1, 3, 4, 5]
    assert shown(2) == [1, 5]
    assert shown(1) == [5]
    assert shown(0) == []


def test_a_step_with_a_bar_may_take_two_lines() -> None:
    assert shown(7, height=2) == [1, 4, 5]


def test_the_latest_progress_of_a_task_run_is_shown() -> None:
    step, asked = uuid4(), list[str]()
    newest, oldest = (SimpleNamespace(task_run_id=step, data=share, description=f"x: {share}") for share in (0.9, 0.1))

    def read_artifacts(*, sort: Any, **_: object) -> list[Any]:
        asked.append(sort.value)
        return [newest, oldest]

    client: Any = SimpleNamespace(read_task_runs=lambda **_: [], read_artifacts=read_artifacts)
    view = RunView(client, uuid4(), Screen())
    view.poll()
    assert asked == ["UPDATED_DESC"]
    assert view.progress == {str(step): (0.9, "x: 0.9")}
