"""Streams: standard input, output and error as a command finds them: closed, full, or with nobody at the other end.

A number that is closed would be given to the next file or socket, which then gets what was meant for the user. Errors of
standard output are told from all others by a class of their own; those of standard error have nobody to be told to.

Whatever Python writes to either is text: control characters of names, paths, answers of servers or log lines are written as
escapes. Only `artifacts/screen.py` draws.
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
_NOBODY_READS = 128 + 13  # as a shell shows it for what SIGPIPE has ended
# Reading from a closed input finds its end. Writing to a closed output fails, as before: a result must not vanish.
_INSTEAD = {_STDIN: os.O_RDONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}


class Output(io.FileIO):
    """Standard output."""

    def write(self, content: "Buffer", /) -> int:
        """Write.

        Raises:
            SystemExit: nobody reads on, which is no error.
            OutputError: the system refused.
        """
        try:
            return super().write(content) or 0
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # for what is still in the buffers
            raise SystemExit(_NOBODY_READS) from None
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
            raise OutputError(f"can't write the result to standard output: {error.strerror}") from error


class Errors(io.FileIO):
    """Standard error, which drops what can't be written, and all that libraries say of an interruption."""

    def write(self, content: "Buffer", /) -> int:
        """Write, if anybody can see it."""
        if not STOPPING.is_set() or self.isatty():
            with suppress(OSError):
                return super().write(content) or 0
        return memoryview(content).nbytes


class Text(io.TextIOWrapper):
    """A text stream that writes control characters as escapes, and so what its encoding does not have."""

    def write(self, text: str, /) -> int:
        """Write a text."""
        super().write(printable(text, keep="\n\t"))
        return len(text)

    def write_drawn(self, text: str) -> int:
        """Write what rich has drawn, with control characters of its own."""
        return super().write(text)


def replace_closed_streams() -> None:
    """Open what is closed, and replace Python's streams by those that know what an error of theirs means."""
    for number, mode in _INSTEAD.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(_STDIN, encoding="utf-8", closefd=False)
    if sys.stdout is sys.__stdout__:
        sys.stdout = text(Output(STDOUT, "w", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = text(Errors(STDERR, "w", closefd=False), sys.stderr, lines=True)


def text(raw: io.FileIO, like: "io.TextIOBase | None", *, lines: bool = False) -> Text:
    """A text stream on a raw one."""
    encoding = getattr(like, "encoding", None) or "utf-8"
    buffered = io.BufferedWriter(raw)
    return Text(buffered, encoding, "backslashreplace", line_buffering=lines or raw.isatty())


def deliver() -> None:
    """Write what is still in the buffer of standard output.

    Raises:
        SystemExit: nobody reads on.
        OutputError: the system refused.
    """
    sys.stdout.flush()
