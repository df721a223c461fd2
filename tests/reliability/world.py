"""Set up the environment of fault trials: tiny real data, a guarded server, and checks of the results of a run."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tasks.data.predictions_parquet import read_predictions
from tasks.history.run_store import CLAIM
from tasks.storage.checksummed_json import checked_body
from tasks.storage.folders import MARK as ROOT_MARK
from tests.support import data
from tests.support.serving import free_port, until, without_prefect

MNIST = Path(sys.executable).with_name("mnist")
PYTHON = Path(sys.executable)
COUNTS = {"train": 600, "test": 40}  # three epochs classify 26 of 40 correctly; the gate requires about 15
MARK = "MNIST_TRIAL"  # set in the environment of every process of a trial
SECONDS = 900  # a run of one epoch took more than 300 s on two cores with a load of 17
CREDENTIAL = "mnist:a-password-of-trials"  # not part of a path, since it is masked wherever it is printed
BY_CONTENT = re.compile(r".+-([0-9a-f]{12})\.[\w.]+")


class World(NamedTuple):
    """Environment of trials: a folder, a dataset file, and the API of a server."""

    folder: Path
    dataset: Path
    api: str

    def command(self, root: Path, *options: str) -> list[str]:
        """Return the command of a run with three epochs."""
        given = ["--dataset", str(self.dataset), "--root", str(root), "--epochs", "3", "--json"]
        return [str(PYTHON), "-m", "flows.cli.app", "run", *given, *options]

    def env(self, trial: str, *, own_server: bool = False) -> dict[str, str]:
        """Return the environment of a trial's processes; with `own_server`, they start a separate server."""
        settings = {"PREFECT_HOME": str(self.folder / "home"), MARK: trial, "PREFECT_LOGGING_EXTRA_LOGGERS": ""}
        server = {} if own_server else {"PREFECT_API_URL": self.api, "PREFECT_API_AUTH_STRING": CREDENTIAL}
        return without_prefect(os.environ) | settings | server

    def run(self, root: Path, *options: str, trial: str = "plain", **env: str) -> subprocess.CompletedProcess[str]:
        """Run the flow and wait for its end."""
        return subprocess.run(
            self.command(root, *options),
            env=self.env(trial) | env,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


@contextmanager
def world() -> Iterator[World]:
    """Create the environment of trials, and remove it after the block."""
    folder = Path(tempfile.mkdtemp(prefix="mnist-reliability-"))
    dataset = data.make(folder / "mirror", COUNTS).toml()
    port = free_port()
    env = without_prefect(os.environ) | {"PREFECT_HOME": str(folder / "home"), "PREFECT_UI_ENABLED": "0",
                                         "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
                                         "PREFECT_SERVER_API_AUTH_STRING": CREDENTIAL}  # fmt: skip
    command = [PYTHON, "-P", "-m", "flows.server.serving", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until(lambda: answers(port), "the server")
            yield World(folder, dataset, f"http://127.0.0.1:{port}/api")
        finally:
            server.terminate()
            server.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def answers(port: int) -> bool:
    """Return whether a server answers."""
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the printed result of a run that must have succeeded."""
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def made(found: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a result that runs with the same inputs share, down to the last bit of every probability."""
    return {
        "verdict": found["verdict"],
        "probabilities": {
            name: hashlib.sha256(
                read_predictions(Path(found["root"]) / model["predictions"]).probabilities.tobytes()
            ).hexdigest()
            for name, model in found["models"].items()
        },
        "models": {
            name: {key: model[key] for key in ("accuracy", "errors", "loss", "parameters", "epochs")}
            for name, model in found["models"].items()
        },
    }


def incomplete(root: Path) -> list[str]:
    """Return files with a final name that are incomplete: their hash, their checksum or their end is wrong."""
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not whole(path, root)]


def whole(path: Path, root: Path) -> bool:
    """Return whether a file is complete according to its name, or has no final name."""
    top = path.relative_to(root).parts[0]
    named = BY_CONTENT.fullmatch(path.name)
    if top in {"scratch", "locks", ROOT_MARK} or path.name.endswith((".part", ".partial")):
        return True
    if top in {"records", "champions", "made", "history"} or path.name in {"run.json", "state.json"}:
        return sound(path.read_bytes())
    if top in {"comparisons", "pictures"} or path.name in {CLAIM, "report.html", "report.md", "report.json"}:
        return path.read_text().rstrip().endswith(("</html>", "}", "."))
    return named is not None and hashlib.sha256(path.read_bytes()).hexdigest().startswith(named[1])


def sound(raw: bytes) -> bool:
    """Return whether a file has a valid checksum."""
    try:
        return bool(checked_body(raw))
    except OSError:
        return False


def left_over(root: Path) -> list[str]:
    """Return temporary files of any kind that no run needs any longer."""
    found = [*root.rglob("*.part"), *root.glob("scratch/*"), *root.glob("unfinished/*"), *root.glob("locks/*")]
    return [str(path.relative_to(root)) for path in found if path.name != "root.lock"]


def processes(trial: str) -> list[psutil.Process]:
    """Return all living processes that a trial has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == trial and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def all_gone(trial: str, seconds: float = 60) -> list[psutil.Process]:
    """Wait for the processes of a trial to end, and return those that are still alive after the time limit."""
    limit = time.monotonic() + seconds
    while (left := processes(trial)) and time.monotonic() < limit:
        time.sleep(0.2)
    return left
