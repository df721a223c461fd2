"""Logs: what a user can cause is said in one line, without a traceback.

Prefect's API and UI keep every record; the console of the command leaves out what the command says itself.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tasks.errors import MnistError

RUNS = ("prefect.flow_runs", "prefect.task_runs")


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter that lets every record pass, but drops the traceback of our own errors."""
    if record.exc_info and isinstance(record.exc_info[1], MnistError):
        record.exc_info = None
        record.exc_text = None
    return True


def one_line_errors() -> None:
    """Apply the filter to the loggers of Prefect's runs in this process."""
    for name in RUNS:
        logging.getLogger(name).addFilter(without_traceback)


def no_failures(record: logging.LogRecord) -> bool:
    """A filter that drops how a run failed: the command says that as its last line."""
    return record.levelno < logging.ERROR or not record.name.startswith(RUNS)


class ConsoleLines(logging.Handler):
    """Prints warnings above a live view, which shares the console."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self.console = console
        self.addFilter(no_failures)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self.console.print(f"[yellow]{record.levelname.lower()}[/]: {record.getMessage()}", highlight=False)


@contextmanager
def quiet_console(console: Console | None) -> Iterator[None]:
    """Keep Prefect's console lines free of failures; with a `console`, print only warnings, and print them there."""
    logger = logging.getLogger("prefect")
    standard = list(logger.handlers)
    lines = ConsoleLines(console) if console else None
    if lines:
        logger.handlers = [lines]
    for handler in standard:
        handler.addFilter(no_failures)
    try:
        yield
    finally:
        logger.handlers = standard
        for handler in standard:
            handler.removeFilter(no_failures)
