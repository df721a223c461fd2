"""Progress of long work outside a run, on standard error.

A terminal shows a bar with the rate and the remaining time; other outputs get a line every few seconds, with the same
figures. Messages are printed as lines in both cases.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from artifacts.screen import Screen
from flows.processes.console import VERBOSITY, echo
from flows.processes.log_file import note_in_log_file

if TYPE_CHECKING:
    from tasks.schemas.records import FileRecord

_LINE_SECONDS = 5.0
BYTES = "bytes"


class _RateColumn(ProgressColumn):
    """The number of items per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before the first measurement."""
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else "")


class ProgressBars:
    """Progress display with one bar for each name."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Update the bar of a name."""
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.bars[name], completed=have, total=total)

    def tell(self, line: str, level: int) -> None:
        """Print a message above the bars."""
        note_in_log_file(line, level)
        self.progress.console.print(_prefixed(line, level))


class ProgressLines:
    """Progress display that prints a line every few seconds, until the work is complete.

    With `ends`, it also prints a line when the work on a name begins and when it is complete.
    """

    def __init__(self, unit: str, *, ends: bool) -> None:
        self.unit, self.ends = unit, ends
        self.began: dict[str, float] = {}
        self.printed: dict[str, float] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Print the progress of a name if it is due."""
        now = time.monotonic()
        began = self.began.setdefault(name, now)
        before = self.printed.setdefault(name, -_LINE_SECONDS if self.ends else now)
        if self.ends if have == total else now - before >= _LINE_SECONDS:
            self.printed[name] = now
            self.tell(progress_line(name, have, total, self.unit, now - began), logging.INFO)

    def tell(self, line: str, level: int) -> None:
        """Print a message."""
        echo(_prefixed(line, level), err=True)


def progress_line(name: str, have: int, total: int | None, unit: str, seconds: float) -> str:
    """Return how much of some work is done, with the rate and the remaining time if they are known.

    Examples:
        >>> progress_line("images", 300, 1200, "images", 2.0)
        'images: 300 of 1,200 images, 150 images/s, 6 s left'
    """
    line = f"{name}: {have:,} {f'of {total:,} ' if total else ''}{unit}"
    if not have or have == total or seconds < 1:
        return line
    rate = have / seconds
    shown = f"{rate / 1e6:,.1f} MB/s" if unit == BYTES else f"{rate:,.0f} {unit}/s"
    return f"{line}, {shown}" + (f", {(total - have) / rate:,.0f} s left" if total else "")


def _prefixed(line: str, level: int) -> str:
    """Return a message with the command's prefix, and with `warning:` if its level calls for it."""
    return f"mnist: warning: {line}" if level >= logging.WARNING else f"mnist: {line}"


@contextmanager
def show_progress(unit: str, *, ends: bool = False) -> Iterator[ProgressBars | ProgressLines]:
    """Yield a display for the progress of work that is counted in a unit; for `ends`, see `ProgressLines`."""
    console = Screen(err=True)
    if not console.is_terminal or VERBOSITY.quiet or VERBOSITY.verbose:
        yield ProgressLines(unit, ends=ends)
        return
    figures = (DownloadColumn(), TransferSpeedColumn()) if unit == BYTES else (MofNCompleteColumn(), _RateColumn(unit))
    name = TextColumn("{task.description}", markup=False)
    with Progress(name, BarColumn(), *figures, TimeRemainingColumn(), console=console, transient=True) as progress:
        yield ProgressBars(progress)


def watched_files(
    shown: ProgressBars | ProgressLines, name: str, files: Sequence["FileRecord"]
) -> "Iterator[FileRecord]":
    """Yield files one by one, and show how many of their bytes have been processed."""
    total, have = sum(file.bytes for file in files), 0
    for file in files:
        yield file
        have += file.bytes
        shown.report(name, have, total)


@contextmanager
def counted_progress(name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds to the progress of the only work that is shown."""
    done = 0
    with show_progress(unit) as shown:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            shown.report(name, done, total)

        advance(0)
        yield advance
