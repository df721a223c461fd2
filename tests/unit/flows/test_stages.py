"""Test the progress of a study, which counts its trainings."""

from types import SimpleNamespace

import pytest

from flows.stages import TrainingCount


class Future:
    """A finished future whose state has a name."""

    def __init__(self, name: str) -> None:
        self.state = SimpleNamespace(name=name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("flows.stages.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_the_remaining_time_follows_from_the_trainings_that_were_computed(clock: SimpleNamespace) -> None:
    cached, *trained = (Future(name) for name in ("Cached", *["Completed"] * 3))
    count = TrainingCount([cached, *trained])
    lines = [count.line()]
    evaluation = Future("Completed")
    for future in (cached, trained[0], evaluation, trained[1], trained[2]):
        clock.now += 0 if future in {cached, evaluation} else 10
        count.add(future)
        lines.append(count.line())
    assert lines == [
        "trainings: 0 of 4",
        "trainings: 1 of 4",
        "trainings: 2 of 4, 6.0 per minute, 20 s left",
        "trainings: 2 of 4, 6.0 per minute, 20 s left",
        "trainings: 3 of 4, 6.0 per minute, 10 s left",
        "trainings: 4 of 4",
    ]
