"""Start real Dask and Ray clusters on this machine, with workers in separate processes, as on other machines."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.serving import free_port, until

DASK = Path(sys.executable).with_name("dask")
SECONDS = 60
OPTIONS = ("--no-dashboard", "--host", "127.0.0.1")


class Cluster:
    """The address of a scheduler, and the processes of the workers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers, self.address = folder, list[subprocess.Popen[bytes]](), ""
        self.scheduler = self.start("scheduler", "scheduler", "--port", "0")
        self.address = self.said("scheduler", r"Scheduler at:\s+tcp://([\d.:]+)", self.scheduler)

    def start(self, name: str, *arguments: str, project: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a process in a separate folder, with the code of this project or of another copy of it."""
        folder = self.folder / name
        folder.mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MNIST", "TF_"))}
        env |= {"PREFECT_HOME": str(folder), **({"PYTHONPATH": str(project)} if project else {})}
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([DASK, *arguments, *OPTIONS], stdout=log, stderr=log, cwd=folder, env=env)

    def said(self, name: str, pattern: str, process: subprocess.Popen[bytes]) -> str:
        """Wait until the output of a process matches a pattern, and return the first group."""
        limit = time.monotonic() + SECONDS
        while time.monotonic() < limit:
            text = (self.folder / f"{name}.log").read_text()
            if found := re.search(pattern, text):
                return found[1] if found.groups() else ""
            assert process.poll() is None, text
            time.sleep(0.1)
        raise TimeoutError(text)

    def add(self, *, threads: int = 1, project: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it is registered."""
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
    """Start a cluster, without workers at first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.end()


@contextmanager
def ray_head(folder: Path, processes: int = 2) -> Iterator[str]:
    """Start a Ray cluster of one node, whose workers use the code of this project; yield the address of its head node."""
    env = os.environ | {
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "PREFECT_HOME": str(folder),
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "60",  # its default of 30 can be too low while other tests run
        "RAY_worker_niceness": "0",  # with its default of 15, workers hardly get a core while other tests run
    }  # fmt: skip
    port = free_port()
    options = ["--head", "--block", "--port", str(free_port()), "--ray-client-server-port", str(port), "--num-cpus",
               str(processes), "--include-dashboard", "false", "--node-ip-address", "127.0.0.1"]  # fmt: skip
    # The names of its sockets must be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as short,
        (folder / "ray.log").open("wb") as log,
    ):
        command = [DASK.with_name("ray"), "start", *options, "--temp-dir", short]
        head = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=env)
        try:
            until(lambda: listens(port), "Ray's head", SECONDS)
            yield f"127.0.0.1:{port}"
        finally:
            children = psutil.Process(head.pid).children(recursive=True)
            head.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            head.wait()


def listens(port: int) -> bool:
    """Return whether a port accepts connections."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
