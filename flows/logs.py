"""Logs: what a user can cause is said in one line, without a traceback.

Prefect's API and UI keep every record; the console of the command leaves out what the command says itself.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.configuration import setup_logging
from rich.console import Console
from rich.text import Text

from artifacts.screen import Screen
from tasks.errors import MnistError
from tasks.safety.redaction import guard

WORKER_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"  # of the console lines of worker processes
RUNS = ("prefect.flow_runs", "prefect.task_runs")


def without_traceback(record: logging.LogRecord) -> bool:
    """A filter that drops the traceback of our own errors, and what Prefect says of every limit of time on a thread's task."""
    if record.getMessage().startswith("Timeout of ") and "seconds configured" in record.getMessage():
        return False  # the limit holds once what blocks is over: soon enough for a limit of hours
    if record.exc_info and isinstance(record.exc_info[1], MnistError):
        record.exc_info = None
        record.exc_text = None
    return True


def one_line_errors() -> None:
    """Apply the filter to the loggers of Prefect's runs in this process, and mask secrets in all that it logs."""
    guard()
    for name in RUNS:
        logging.getLogger(name).addFilter(without_traceback)


def no_failures(record: logging.LogRecord) -> bool:
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
        self.addFilter(no_failures)

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
        os.environ[WORKER_LEVEL] = "CRITICAL"
    for handler in standard:
        handler.addFilter(no_failures)
    try:
        yield
    finally:
        os.environ.pop(WORKER_LEVEL, None)
        root.handlers = standard
        for handler in standard:
            handler.removeFilter(no_failures)


def outlive_readers() -> None:
    """Drop log lines that nobody reads any more, as after `2>&1 | head`: rich would raise SystemExit in the middle of a task.

    In a worker process, that also ends the thread that hands out results, and the flow would wait for them for ever.
    """
    Console.on_broken_pipe = fall_silent  # type: ignore[method-assign, assignment]


def fall_silent(console: Console) -> None:
    """Write nothing more to a console."""
    console.quiet = True
