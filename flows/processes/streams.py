"""Standard input, output and error of a command, which may be closed, full, or without a reader.

If a stream stayed closed, the next file or socket would get its file descriptor and receive text that is meant for the
user. An error of standard output raises its own class of error. An error of standard error is ignored, because there is
no place to report it.

Python writes only text to both outputs: control characters in names, paths, server responses or log lines become
escapes. Only `artifacts/screen.py` writes control characters.
"""

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from tasks.errors import OutputError
from tasks.safety.plain_text import printable
from tasks.safety.stopping import STOPPING

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

_STDIN, STDOUT, STDERR = 0, 1, 2
_NOBODY_READS = 128 + 13  # the exit code that a shell reports after SIGPIPE
# A closed input reads as empty. Writing to a closed output still fails: a result must not get lost.
_INSTEAD = {_STDIN: os.O_RDONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}


class Output(io.FileIO):
    """Standard output."""

    def write(self, content: "Buffer", /) -> int:
        """Write bytes.

        Raises:
            SystemExit: If the reader has closed the pipe, which is not an error.
            OutputError: If the system reports an error.
        """
        try:
            return super().write(content) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # for the rest of the buffers
            raise SystemExit(_NOBODY_READS) from None
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
            raise OutputError(f"can't write the result to standard output: {error.strerror}") from error


class Errors(io.FileIO):
    """Standard error, which drops text that can't be written.

    After a stop signal, it drops all text unless it is a terminal.
    """

    def write(self, content: "Buffer", /) -> int:
        """Write bytes, or drop them after a stop signal unless a terminal shows them."""
        if not STOPPING.is_set() or self.isatty():
            with suppress(OSError):
                return super().write(content) or 0
        return memoryview(content).nbytes


class Text(io.TextIOWrapper):
    """A text stream that escapes control characters and characters that its encoding lacks."""

    def write(self, text: str, /) -> int:
        """Write a text."""
        super().write(printable(text, keep="\n\t"))
        return len(text)

    def write_drawn(self, text: str) -> int:
        """Write a text from rich, with its control characters."""
        return super().write(text)


def replace_closed_streams() -> None:
    """Open closed standard streams on the null device, and replace Python's streams with `Output` and `Errors`."""
    for number, mode in _INSTEAD.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(_STDIN, encoding="utf-8", closefd=False)
    if sys.stdout is sys.__stdout__:
        sys.stdout = text(Output(STDOUT, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = text(Errors(STDERR, "w", closefd=False), sys.stderr, lines=True)


def text(raw: io.FileIO, like: "io.TextIOBase | None", *, lines: bool = False) -> Text:
    """Return a text stream on a raw stream."""
    encoding = getattr(like, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(raw)
    return Text(buffered, encoding, "backslashreplace", line_buffering=lines or raw.isatty())


def deliver() -> None:
    """Flush the buffer of standard output.

    Raises:
        SystemExit: If the reader has closed the pipe.
        OutputError: If the system reports an error.
    """
    sys.stdout.flush()
