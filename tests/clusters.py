"""A Dask cluster on this machine: a real scheduler, and workers in processes of their own, as on other machines."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DASK = Path(sys.executable).with_name("dask")
SECONDS = 60
OPTIONS = ("--no-dashboard", "--host", "127.0.0.1")


class Cluster:
    """A scheduler's address, and the processes of the workers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers, self.address = folder, list[subprocess.Popen[bytes]](), ""
        self.scheduler = self.start("scheduler", "scheduler", "--port", "0")
        self.address = self.said("scheduler", r"Scheduler at:\s+tcp://([\d.:]+)", self.scheduler)

    def start(self, name: str, *arguments: str, project: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a process, which works in a folder of its own, on the code of this project or of another copy of it."""
        folder = self.folder / name
        folder.mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MNIST", "TF_"))}
        env |= {"PREFECT_HOME": str(folder), **({"PYTHONPATH": str(project)} if project else {})}
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([DASK, *arguments, *OPTIONS], stdout=log, stderr=log, cwd=folder, env=env)

    def said(self, name: str, pattern: str, process: subprocess.Popen[bytes]) -> str:
        """Wait until a process has said something."""
        limit = time.monotonic() + SECONDS
        while time.monotonic() < limit:
            text = (self.folder / f"{name}.log").read_text()
            if found := re.search(pattern, text):
                return found[1] if found.groups() else ""
            assert process.poll() is None, text
            time.sleep(0.1)
        raise TimeoutError(text)

    def add(self, *, threads: int = 1, project: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, and wait for it to be one."""
        name = f"worker-{len(self.workers)}"
        options = ("--nthreads", str(threads), "--no-nanny", "--local-directory", str(self.folder / "scratch"))
        worker = self.start(name, "worker", f"tcp://{self.address}", *options, project=project)
        self.workers.append(worker)
        self.said(name, "Registered to", worker)
        return worker

    def end(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.send_signal(signal.SIGKILL)
            process.wait()


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster, without workers at first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.end()
