"""Append the log of a command, and of the processes that it starts on this machine, to a file.

The file gets every record of Prefect and of the steps, down to the level DEBUG, and the lines that the command prints on
standard error. The screen and Prefect's UI keep their levels. Records are redacted when they are created.
"""

import errno
import logging
import os
import sys
from pathlib import Path

from tasks.errors import InputError
from tasks.filesystem.regular_files import expand_user, irregular_kind

LOG_FILE = "MNIST_LOG_FILE"  # the variable that tells the path to the processes that the command starts
_LEVEL = "PREFECT_LOGGING_LEVEL"
_HANDLERS = ("CONSOLE", "API", "WORKER_API")  # of Prefect's logs
_FORMAT = "%(asctime)s | %(levelname)-7s | %(process)d | %(name)s - %(message)s"


class _File(logging.FileHandler):
    """Handler that reports the first record that it can't write, and then stops.

    Its name begins with an underscore: otherwise, Prefect would take it for the user's own set-up, and log nothing to
    the screen.
    """

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802  # the name is that of the base class
        """Report that a record was not written."""
        sys.stderr.write(f"mnist: warning: the log file {self.baseFilename} is incomplete: {sys.exc_info()[1]}\n")
        self.setLevel(logging.CRITICAL + 1)


_opened: list[_File] = []  # at most one


def open_log_file(given: str) -> None:
    """Open a file for the log of this process and of the processes that it starts.

    Raises:
        InputError: If the file can't be opened.
    """
    path = expand_user(given, "log file").absolute()
    _open(path)
    os.environ[LOG_FILE] = str(path)
    level = os.environ.get(_LEVEL, "INFO")
    for handler in _HANDLERS:
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", level)
    os.environ[_LEVEL] = "DEBUG"


def _open(path: Path) -> None:
    """Open a file for the log of this process, in place of an earlier one."""
    try:
        if kind := irregular_kind(path):  # a pipe would wait for its reader
            raise OSError(errno.EINVAL, f"{kind}, not a regular file")
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = f"there is no folder {path.parent}" if missing else error.strerror
        raise InputError(f"can't write the log file {path}: {reason}; give another --log-file or {LOG_FILE}") from error
    handler.setFormatter(logging.Formatter(_FORMAT))
    close_log_file()
    _opened.append(handler)


def close_log_file() -> None:
    """Close the file, if there is one."""
    while _opened:
        logging.getLogger().removeHandler(_opened[-1])
        _opened.pop().close()


def log_to_file() -> None:
    """Write the records of Prefect and of the steps in this process to the file, if there is one."""
    if path := os.environ.get(LOG_FILE):
        from prefect.logging.configuration import setup_logging  # noqa: PLC0415  # this process has imported Prefect

        if not _opened:
            # The command could open the file when it started. A run is worth more than its log, so it goes on without it.
            try:
                _open(Path(path))
            except InputError as error:
                sys.stderr.write(f"mnist: warning: {error}\n")
                return
        setup_logging()  # otherwise, Prefect would do so later and remove the handler
        logging.getLogger().addHandler(_opened[0])


def note_in_log_file(line: str, level: int = logging.INFO) -> None:
    """Write a line to the file, if there is one."""
    for handler in _opened:
        if level >= handler.level:
            handler.handle(logging.getLogger("mnist").makeRecord("mnist", level, "", 0, line, (), None))
