"""Run a command whose standard error is a terminal, and return what it drew there."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_on_terminal(
    command: Sequence[str | Path], *, lines: int = 24, columns: int = 100, seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command; its standard error is a terminal of a size, and its standard output is a pipe.

    Control sequences are removed from what it drew.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    drawn: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the terminal is closed
            while chunk := os.read(ours, 65536):
                drawn.append(chunk)

    reader = threading.Thread(target=read)
    env = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}
    }  # the terminal's size counts
    env["TERM"] = "xterm-256color"
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=env, text=True) as process:
        os.close(theirs)
        reader.start()
        stdout, _ = process.communicate(timeout=seconds)
    reader.join()
    os.close(ours)
    text = _CONTROL.sub("", b"".join(drawn).decode())
    return subprocess.CompletedProcess(command, process.returncode, stdout, text)
