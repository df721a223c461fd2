"""Logs of Prefect's runs: what a user can cause is said in one line, without a traceback."""

import logging

from rich.console import Console

from tasks.errors import MnistError
from tasks.safety.redaction import redact_all_output

RUNS = ("prefect.flow_runs", "prefect.task_runs")


def _strip_traceback(record: logging.LogRecord) -> bool:
    """A filter that drops the traceback of our own errors, and what Prefect says of every limit of time on a thread's task."""
    if record.getMessage().startswith("Timeout of ") and "seconds configured" in record.getMessage():
        return False  # the limit holds once what blocks is over: soon enough for a limit of hours
    if record.exc_info and isinstance(record.exc_info[1], MnistError):
        record.exc_info = None
        record.exc_text = None
    return True


def hide_expected_tracebacks() -> None:
    """Apply the filter to the loggers of Prefect's runs in this process, and mask secrets in all that it logs."""
    redact_all_output()
    for name in RUNS:
        logging.getLogger(name).addFilter(_strip_traceback)


def outlive_readers() -> None:
    """Drop log lines that nobody reads any more, as after `2>&1 | head`: rich would raise SystemExit in the middle of a task.

    In a worker process, that also ends the thread that hands out results, and the flow would wait for them for ever.
    """
    Console.on_broken_pipe = _fall_silent  # type: ignore[method-assign, assignment]


def _fall_silent(console: Console) -> None:
    """Write nothing more to a console."""
    console.quiet = True
