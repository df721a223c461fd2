"""Filters for logs: no secrets, and an error that a user can cause takes one line, without a traceback."""

import logging
import os
from contextlib import suppress

from rich.console import Console

from flows.processes.log_file import log_to_file
from flows.processes.prefect_compat import RUN_LOGGERS, is_time_limit_note
from tasks.errors import MnistError
from tasks.safety.redaction import add_secret, environment_secrets, redact_all_output


def _strip_traceback(record: logging.LogRecord) -> bool:
    """Filter a log record: drop the traceback of this project's errors, and Prefect's note on time limits in threads.

    Returns:
        False for the note, which Prefect logs for each task with a time limit that runs in a thread.
    """
    if is_time_limit_note(record):
        return False  # the limit takes effect after the blocking call: soon enough for a limit of hours
    if record.exc_info and isinstance(record.exc_info[1], MnistError):
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


def ignore_broken_pipe() -> None:
    """Drop log lines once nobody reads them, as after `2>&1 | head`.

    rich would raise SystemExit in the middle of a task. In a worker process, SystemExit would also end the thread that
    passes on results, and the flow would wait for them forever.
    """
    Console.on_broken_pipe = _disable_console  # type: ignore[method-assign, assignment]


def _disable_console(console: Console) -> None:
    """Stop writing to a console."""
    console.quiet = True
