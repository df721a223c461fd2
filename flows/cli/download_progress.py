"""Fetching: how far a download outside of a run is, on standard error.

On a terminal, a bar for each archive; elsewhere, a line now and then. What a mirror did wrong is a line in both.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from artifacts.screen import Screen
from flows.processes.console import echo

_LINE_SECONDS = 5.0


class Fetching(Protocol):
    """What is told of a download."""

    def report(self, name: str, have: int, total: int | None) -> None:
        """So many bytes of a file are there, of so many, if that is known."""

    def tell(self, line: str, level: int) -> None:
        """Say a line."""


class ProgressBars:
    """Shows a bar for each file."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.bars: dict[str, TaskID] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Draw the bar of a file."""
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total)
        self.progress.update(self.bars[name], completed=have, total=total)

    def tell(self, line: str, level: int) -> None:
        """Print a line above the bars."""
        self.progress.console.print(_prefixed(line, level))


class Lines:
    """Prints a line when a file begins, every few seconds, and when it is there."""

    def __init__(self) -> None:
        self.printed: dict[str, float] = {}

    def report(self, name: str, have: int, total: int | None) -> None:
        """Print how far a file is, if it is time to."""
        now = time.monotonic()
        if have == total or now - self.printed.get(name, -_LINE_SECONDS) >= _LINE_SECONDS:
            self.printed[name] = now
            self.tell(f"{name}: {have:,} {f'of {total:,} ' if total else ''}bytes", logging.INFO)

    def tell(self, line: str, level: int) -> None:
        """Print a line."""
        echo(_prefixed(line, level), err=True)


def _prefixed(line: str, level: int) -> str:
    """A line as the command says it."""
    return f"mnist: warning: {line}" if level >= logging.WARNING else f"mnist: {line}"


@contextmanager
def show_downloads() -> Iterator[Fetching]:
    """Show downloads while the block runs."""
    console = Screen(err=True)
    if not console.is_terminal:
        yield Lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield ProgressBars(progress)
