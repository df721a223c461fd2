"""Test the progress of steps: about one update of the artifact per second, and a log line every half minute."""

import threading
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tasks.engine import task_progress
from tasks.engine.task_progress import ProgressBar, TransferProgress, transfer_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(task_progress, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines that are logged in a task run."""
    lines: list[str] = []
    monkeypatch.setattr(task_progress, "log", lines.append)
    monkeypatch.setattr(task_progress, "TaskRunContext", SimpleNamespace(get=lambda: True))
    monkeypatch.setattr(task_progress, "create_progress_artifact", lambda *_: uuid4())
    monkeypatch.setattr(task_progress, "update_progress_artifact", lambda *_, **__: None)
    return lines


def test_a_long_step_logs_a_line_every_half_minute(clock: SimpleNamespace, logged: list[str]) -> None:
    bar = ProgressBar("training-plain", "starting")
    for second in range(95):
        clock.now = float(second)
        if bar.due():
            bar.refresh(second / 95, f"second {second}")
    assert logged == ["second 30", "second 60", "second 90"]


def test_the_rate_of_a_resumed_download_does_not_count_the_earlier_bytes(clock: SimpleNamespace) -> None:
    transfer = TransferProgress("train-images.gz", 9_000_000)
    assert transfer.line() == "train-images.gz: 0 of 9,000,000 bytes"
    transfer.report(3_000_000, None)
    clock.now = 2.0
    transfer.report(5_000_000, 9_000_000)
    assert transfer.line() == "train-images.gz: 5,000,000 of 9,000,000 bytes, 1.0 MB/s, 4 s left"


def test_a_slow_download_is_reported_and_a_fast_one_is_not(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    updated, shown = threading.Event(), list[float]()

    def update(*_: object, progress: float, **__: object) -> None:
        shown.append(progress)
        updated.set()

    monkeypatch.setattr(task_progress, "update_progress_artifact", update)
    with transfer_progress("archive.gz", 10) as report:
        report(5, 10)
    assert not updated.is_set()
    monkeypatch.setattr(task_progress, "_REFRESH_SECONDS", 0.01)
    with transfer_progress("archive.gz", 10) as report:
        report(5, 10)
        assert updated.wait(10)
        monkeypatch.setattr(task_progress, "_REFRESH_SECONDS", 60)
        report(10, 10)
    assert shown[-1] == 100, "a finished download has no bar of an unfinished one"
