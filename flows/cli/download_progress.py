"""Progress of downloads outside a run, on standard error.

A terminal shows a progress bar for each archive; other outputs get a line every few seconds. Mirror failures are
printed as lines in both cases.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from artifacts.screen import Screen
from flows.processes.console import echo

_LINE_SECONDS = 5.0


class ProgressBars:
    """Progress display with one bar for each file."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Update the bar of a file."""
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.bars[name], completed=have, total=total)

    def tell(self, line: str, level: int) -> None:
        """Print a message above the bars."""
        self.progress.console.print(_prefixed(line, level))


class Lines:
    """Progress display that prints a line when a file begins, every few seconds, and when the file is complete."""

    def __init__(self) -> None:
        self.printed: dict[str, float] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Print the progress of a file if the file is complete or the last line is a few seconds old."""
        now = time.monotonic()
        if have == total or now - self.printed.get(name, -_LINE_SECONDS) >= _LINE_SECONDS:
            self.printed[name] = now
            self.tell(f"{name}: {have:,} {f'of {total:,} ' if total else ''}bytes", logging.INFO)

    def tell(self, line: str, level: int) -> None:
        """Print a message."""
        echo(_prefixed(line, level), err=True)


def _prefixed(line: str, level: int) -> str:
    """Return a message with the command's prefix, and with `warning:` if its level calls for it."""
    return f"mnist: warning: {line}" if level >= logging.WARNING else f"mnist: {line}"


@contextmanager
def show_downloads() -> Iterator[ProgressBars | Lines]:
    """Yield a display for the progress of downloads while the block runs."""
    console = Screen(err=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield ProgressBars(progress)
