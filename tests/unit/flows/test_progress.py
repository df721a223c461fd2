"""Test the progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import tarfile
from pathlib import Path

import pytest

from flows.cli.progress import BYTES, ProgressLines, counted_progress, progress_line, watched_files
from flows.processes.console import VERBOSITY
from tasks.schemas.records import FileRecord
from tests.support.terminal import run_on_terminal
from tests.unit.storage.test_roots import FIXTURE

VERIFY = (sys.executable, "-m", "flows.cli.app", "verify", "--root")


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("flows.cli.progress.time", clock)
    return clock


def test_a_pipe_gets_a_line_every_few_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counted_progress("predict", 1000, "images") as advance:
        for _ in range(100):
            clock.now += 0.125
            advance(10)
    assert capsys.readouterr().err.splitlines() == [
        "mnist: predict: 400 of 1,000 images, 80 images/s, 8 s left",
        "mnist: predict: 800 of 1,000 images, 80 images/s, 2 s left",
    ]


def test_work_in_one_part_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with counted_progress("predict", 2, "images") as advance:
        clock.now += 60
        advance(2)
    assert capsys.readouterr().err == ""


def test_a_quiet_command_shows_no_progress(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VERBOSITY, "quiet", True)
    with counted_progress("predict", 1000, "images") as advance:
        clock.now += 60
        advance(10)
    assert capsys.readouterr().err == ""


def test_a_download_has_a_line_at_its_begin_and_its_end(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(BYTES, ends=True)
    lines.report("archive", 0, 3_000_000)
    clock.now += 2
    lines.report("archive", 1_000_000, 3_000_000)
    lines.report("archive", 3_000_000, 3_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "mnist: archive: 0 of 3,000,000 bytes",
        "mnist: archive: 3,000,000 of 3,000,000 bytes",
    ]


def test_the_rate_of_bytes_is_in_megabytes_and_an_unknown_total_has_no_remaining_time() -> None:
    assert progress_line("x", 5_000_000, 20_000_000, BYTES, 2.0) == (
        "x: 5,000,000 of 20,000,000 bytes, 2.5 MB/s, 6 s left"
    )
    assert progress_line("x", 5_000_000, None, BYTES, 2.0) == "x: 5,000,000 bytes, 2.5 MB/s"


def test_files_are_counted_after_they_have_been_processed() -> None:
    seen: list[tuple[str, int, int | None]] = []

    class Shown(ProgressLines):
        def report(self, name: str, have: int, total: int | None) -> None:
            seen.append((name, have, total))

    files = [FileRecord(path=f"models/{size}", sha256="0" * 64, bytes=size) for size in (3, 4)]
    assert list(watched_files(Shown(BYTES, ends=False), "check", files)) == files
    assert seen == [("check", 3, 7), ("check", 7, 7)]


def test_a_terminal_gets_a_bar_with_the_rate_and_the_remaining_time(tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    done = run_on_terminal((*VERIFY, tmp_path / "root"))
    assert "files, all unchanged" in done.stdout
    assert "verify ━" in done.stderr
    assert "0:00:00" in done.stderr
    done = run_on_terminal((*VERIFY, tmp_path / "root", "--quiet"))
    assert "files, all unchanged" in done.stdout
    assert done.stderr == ""
