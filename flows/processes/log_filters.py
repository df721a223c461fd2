"""Filters for logs: no secrets, and an error that a user can cause takes one line, without a traceback."""

import logging
import os
import sqlite3
from contextlib import suppress

from rich.console import Console

from flows.processes.log_file import log_to_file
from flows.processes.prefect_compat import RUN_LOGGERS, is_time_limit_note
from tasks.errors import MnistError, causes
from tasks.safety.redaction import add_secret, environment_secrets, redact_all_output


def _strip_traceback(record: logging.LogRecord) -> bool:
    """Filter a log record: drop expected tracebacks, and Prefect's note on time limits in threads.

    Expected are this project's errors and the end of a run that is canceled. Its signal can interrupt a library that
    reports it as an error of its own.

    Returns:
        False for the note, which Prefect logs for each task with a time limit that runs in a thread.
    """
    if is_time_limit_note(record):
        return False  # the limit takes effect after the blocking call: soon enough for a limit of hours
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, MnistError) or any("TerminationSignal" in repr(one) for one in causes(error)):
        record.exc_info = None
        record.exc_text = None
    return True


def mask_prefect_settings() -> None:
    """Mask the secrets of Prefect's settings, including those of profiles, in all output and logs of this process."""
    from prefect.settings import get_current_settings  # noqa: PLC0415  # without Prefect, there are no settings

    redact_all_output()
    with suppress(Exception):  # Prefect reports settings that can't be read
        known = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
        add_secret(*environment_secrets({name: value for name, value in known.items() if name not in os.environ}))


def hide_expected_tracebacks() -> None:
    """Add the filter to the loggers of Prefect's runs in this process, and mask secrets in all its logs.

    The logs are also written to the log file, if there is one.
    """
    mask_prefect_settings()
    log_to_file()
    for name in RUN_LOGGERS:
        logging.getLogger(name).addFilter(_strip_traceback)


def shorten_database_errors() -> None:
    """Log an error of a busy database in one line, in all handlers that this process has.

    Prefect's clients repeat the request, and its services the work, that failed.
    """
    loggers = [logging.getLogger(name) for name in (None, *logging.root.manager.loggerDict)]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        handler.addFilter(_shorten_busy)


def _shorten_busy(record: logging.LogRecord) -> bool:
    """Filter a log record: replace the traceback of a busy database by its reason."""
    error = record.exc_info[1] if record.exc_info else None
    if is_busy_database(error):
        record.msg, record.args = f"{record.getMessage()}: the database is busy; trying again", ()
        record.exc_info = record.exc_text = None
    return True


def is_busy_database(error: BaseException | None) -> bool:
    """Return whether the cause of an error is a SQLite database that other connections use."""
    return any(isinstance(one, sqlite3.OperationalError) and "is locked" in str(one) for one in causes(error))


def ignore_broken_pipe() -> None:
    """Drop log lines once nobody reads them, as after `2>&1 | head`.

    rich would raise SystemExit in the middle of a task. In a worker process, SystemExit would also end the thread that
    passes on results, and the flow would wait for them forever.
    """
    Console.on_broken_pipe = _disable_console  # type: ignore[method-assign, assignment]


def _disable_console(console: Console) -> None:
    """Stop writing to a console."""
    console.quiet = True
