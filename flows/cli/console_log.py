"""Logs: what a user can cause is said in one line, without a traceback.

Prefect's API and UI keep every record; the console of the command leaves out what the command says itself.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from rich.text import Text

from artifacts.screen import Screen
from flows.processes.log_filters import RUNS

_WORKER_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"  # of the console lines of worker processes


def _no_failures(record: logging.LogRecord) -> bool:
    """A filter that drops how a run failed: the command says that as its last line."""
    if record.name == "EventsWorker":
        return False  # it counts what it still has to send
    failure = record.levelno >= logging.ERROR or record.getMessage().startswith("Finished in state Failed")
    return not (failure and record.name.startswith(RUNS))


class ConsoleLines(logging.Handler):
    """Prints warnings above a live view, which shares the console."""

    def __init__(self, console: Screen) -> None:
        super().__init__(logging.WARNING)
        self.console = console
        self.addFilter(_no_failures)

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        self.console.print(Text.assemble((record.levelname.lower(), "yellow"), f": {record.getMessage()}"))


@contextmanager
def quiet_console(console: Screen | None) -> Iterator[None]:
    """Keep the console free of failures; with a `console`, print only warnings, and print them there."""
    setup_logging()  # else Prefect would do so in the middle, and put its own handlers back
    root = logging.getLogger()
    standard = list(root.handlers)
    if console:
        root.handlers = [ConsoleLines(console)]
        os.environ[_WORKER_LEVEL] = "CRITICAL"
    for handler in standard:
        handler.addFilter(_no_failures)
    try:
        yield
    finally:
        os.environ.pop(_WORKER_LEVEL, None)
        root.handlers = standard
        for handler in standard:
            handler.removeFilter(_no_failures)
