"""Run the commands of the README's section "On a server" as they are printed there.

The first command keeps running while the others run. At the end, a browser visits both UIs.
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
    """Return the commands of the section's first block."""
    section = (PROJECT / "README.md").read_text().partition("\n## On a server\n")[2].partition("\n## ")[0]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert block, "the README has no commands for a server"
    return [line.removeprefix("$ ").partition("  #")[0] for line in block[1].splitlines() if line.startswith("$ ")]


def main(screenshots: str) -> None:
    """Run all commands of the section."""
    serve, *others = commands()
    assert serve.endswith("mnist serve"), serve
    with tempfile.TemporaryDirectory() as home:
        # Prefect's home is in the default place, as in the README.
        env = {name: value for name, value in without_prefect(os.environ).items() if name != "PREFECT_HOME"}
        take_history(os.environ.get("PREFECT_HOME"), Path(home))
        run(serve, others, env | {"HOME": home}, Path(screenshots))


def take_history(prefect_home: str | None, home: Path) -> None:
    """Copy the history of earlier runs to the server's home, because the UI has to show a training from it."""
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
            # Run all of them in one shell, because the first is an `export`.
            subprocess.run(["bash", "-ec", "\n".join(others)], cwd=PROJECT, env=env, check=True)
            secret = re.search(r"password: the content of (\S+)$", read(said), re.MULTILINE)
            assert secret, read(said)
            walk(ADDRESS, Path(secret[1]).read_text().strip(), screenshots)
        finally:
            started = psutil.Process(server.pid).children(recursive=True)
            server.send_signal(signal.SIGINT)
            server.wait(90)
    assert psutil.wait_procs(started, 10)[1] == []
    assert server.returncode == 130  # the exit code of Ctrl-C


def read(stream: IO[str]) -> str:
    """Return the current content of a file."""
    stream.seek(0)
    return stream.read()


if __name__ == "__main__":
    main(sys.argv[1])
