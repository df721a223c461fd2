"""The README's section "On a server", run as it stands.

The first command goes on while the others run; then both UIs are walked through.
"""

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

import psutil

from tests.acceptance.ui import walk
from tests.support.serving import until, without_prefect

PROJECT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:4200"


def commands() -> list[str]:
    """The commands of the section's first block."""
    section = (PROJECT / "README.md").read_text().partition("\n## On a server\n")[2].partition("\n## ")[0]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert block, "the README has no commands for a server"
    return [line.removeprefix("$ ").partition("  #")[0] for line in block[1].splitlines() if line.startswith("$ ")]


def main(screenshots: str) -> None:
    """Run them all."""
    serve, *others = commands()
    assert serve.endswith("mnist serve"), serve
    with tempfile.TemporaryDirectory() as home:
        # Prefect's home is where the README has it.
        env = {name: value for name, value in without_prefect(os.environ).items() if name != "PREFECT_HOME"}
        take_history(os.environ.get("PREFECT_HOME"), Path(home))
        run(serve, others, env | {"HOME": home}, Path(screenshots))


def take_history(prefect_home: str | None, home: Path) -> None:
    """Let the server know the runs of before, of which the UI is to show a training."""
    earlier = Path(prefect_home or Path.home() / ".prefect") / "prefect.db"
    (home / ".prefect").mkdir(mode=0o700)
    with closing(sqlite3.connect(earlier)) as source, closing(sqlite3.connect(home / ".prefect/prefect.db")) as copy:
        source.backup(copy)


def run(serve: str, others: list[str], env: dict[str, str], screenshots: Path) -> None:
    """Run the server, and meanwhile the other commands and a browser."""
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(shlex.split(serve), cwd=PROJECT, env=env, stdout=said) as server,
    ):
        try:
            until(lambda: server.poll() is not None or "Ctrl-C" in read(said), "mnist serve")
            # In one shell, since the first of them is an `export`.
            subprocess.run(["bash", "-ec", "\n".join(others)], cwd=PROJECT, env=env, check=True)
            secret = re.search(r"password: the content of (\S+)$", read(said), re.MULTILINE)
            assert secret, read(said)
            walk(ADDRESS, Path(secret[1]).read_text().strip(), screenshots)
        finally:
            started = psutil.Process(server.pid).children(recursive=True)
            server.send_signal(signal.SIGINT)
            server.wait(90)
    assert psutil.wait_procs(started, 10)[1] == []
    assert server.returncode == 130  # as Ctrl-C has it


def read(stream: IO[str]) -> str:
    """All that a file holds by now."""
    stream.seek(0)
    return stream.read()


if __name__ == "__main__":
    main(sys.argv[1])
