"""Test completion as a user sees it: in real shells, which a pseudo-terminal feeds with keys."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.storage.folders import Folder

pty = pytest.importorskip("pty")

SECONDS = 120
RUN = "20260203-120000-calm-otter"
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
# The lines of docs/commands.md.
SETUP = {
    "bash": 'eval "$(_MNIST_COMPLETE=bash_source mnist)"',
    "zsh": 'eval "$(_MNIST_COMPLETE=zsh_source mnist)"',
    "fish": "_MNIST_COMPLETE=fish_source mnist | source",
}
BEFORE = {"zsh": "autoload -Uz compinit && compinit -D -u; "}  # the account's own settings
PAGE = Path(__file__).parents[3] / "docs" / "commands.md"
WORDS = {
    "mnist ver": "mnist verify",
    "mnist run --recipe onec": "mnist run --recipe onecycle",
    "mnist run --dataset fash": "mnist run --dataset fashion_mnist",
    "mnist run --champion-line nig": "mnist run --champion-line nightly",
    "mnist champion rollback nig": "mnist champion rollback nightly",
    "mnist verify 2026": f"mnist verify {RUN}",
    "mnist run --recipe ./my_rec": "mnist run --recipe ./my_recipe.toml",
}
# Fish needs the terminal as its controlling terminal.
WITH_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
START, END = b"\x01", b"\x05"  # the keys that move to the start and the end of the line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "root" / Folder.RUNS / RUN).mkdir(parents=True)
    (tmp_path / "root" / Folder.RUNS / RUN / "run.json").touch()
    (tmp_path / "root" / Folder.CHAMPIONS / "mnist-f29801d16e52-nightly").mkdir(parents=True)
    (tmp_path / "my_recipe.toml").touch()
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_names_are_completed_with_the_tab_key(shell: str, folder: Path) -> None:
    if not shutil.which(shell):
        assert shell != "bash"
        pytest.skip(f"{shell} is not installed")
    written = folder / "completed"
    ours, theirs = pty.openpty()
    env = os.environ | {
        "HOME": str(folder),
        "MNIST_ROOT": str(folder / "root"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TERM": "xterm",
    }
    command = [sys.executable, "-c", WITH_TERMINAL, *SHELLS[shell]]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            os.set_blocking(ours, False)
            setup = f"{BEFORE.get(shell, '')}{SETUP[shell]}"
            _enter(ours, written, setup.encode() + b"; echo ready >> completed", 1)
            for count, word in enumerate(WORDS, start=2):
                _enter(ours, written, word.encode() + b"\t" + START + b"echo " + END + b" >> completed", count)
        finally:
            process.kill()
            os.close(ours)
    assert [line.strip() for line in written.read_text().splitlines()] == ["ready", *WORDS.values()]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_documentation_has_the_line_for_the_shell(shell: str) -> None:
    assert f"`{SETUP[shell]}`" in PAGE.read_text().replace("\\|", "|")


def _enter(terminal: int, written: Path, line: bytes, count: int) -> None:
    """Enter a line, and wait until the file has a number of lines."""
    os.write(terminal, line + b"\r")
    limit, shown = time.monotonic() + SECONDS, b""
    while not written.exists() or written.read_text().count("\n") < count:
        try:
            shown += os.read(terminal, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
        assert time.monotonic() < limit, shown.decode(errors="replace")
