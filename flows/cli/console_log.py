"""Console logging of the command: one line without a traceback for each error that a user can cause.

Prefect's API and UI keep every record. The console omits the records that repeat what the command itself prints.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from rich.text import Text

from artifacts.screen import Screen
from flows.processes.console import CONSOLE_LEVEL, VERBOSITY
from flows.processes.log_file import log_to_file
from flows.processes.prefect_compat import EVENTS_LOGGER, RUN_LOGGERS, is_failure_note


def _no_failures(record: logging.LogRecord) -> bool:
    """Return whether to keep a record: drop reports of a run's failure, which the command prints as its last line."""
    if record.name == EVENTS_LOGGER:
        return False
    failure = record.levelno >= logging.ERROR or is_failure_note(record)
    return not (failure and record.name.startswith(RUN_LOGGERS))


class ConsoleLines(logging.Handler):
    """Log handler that prints warnings above a live view on the same console."""

    def __init__(self, console: Screen) -> None:
        super().__init__(logging.WARNING)
        self.console = console
        self.addFilter(_no_failures)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self.console.print(Text.assemble((record.levelname.lower(), "yellow"), f": {record.getMessage()}"))


@contextmanager
def quiet_console(console: Screen | None) -> Iterator[None]:
    """Keep reports of failures off the console while the block runs.

    With a `console`, print only warnings, and print them there. If the command is quiet, print nothing.
    """
    setup_logging()  # otherwise Prefect would do so later and restore its own handlers
    root = logging.getLogger()
    standard = list(root.handlers)
    level = os.environ.get(CONSOLE_LEVEL)
    if console or VERBOSITY.quiet:
        root.handlers = [ConsoleLines(console) if console else logging.NullHandler()]
        os.environ[CONSOLE_LEVEL] = "CRITICAL"  # for the worker processes
    log_to_file()
    for handler in standard:
        handler.addFilter(_no_failures)
    try:
        yield
    finally:
        os.environ.pop(CONSOLE_LEVEL, None)
        os.environ.update({CONSOLE_LEVEL: level} if level else {})
        root.handlers = standard
        for handler in standard:
            handler.removeFilter(_no_failures)
