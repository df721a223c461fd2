"""Run `mnist serve` in a separate process, as a user does, and query its API."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from flows.server.credential import authorization

MNIST = Path(sys.executable).with_name("mnist")
PREFECT = Path(sys.executable).with_name("prefect")
START_SECONDS = 180.0
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "2",
}  # for tests that wait for a worker
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(found: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> Any:
    """Wait until a function returns a true value, and return that value."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        value = found()
        if value:
            return value
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


def answered(response: httpx.Response) -> tuple[httpx.Response] | None:
    """Return the response in a tuple, because an error response is false, or None if the server is busy."""
    return None if response.status_code == httpx.codes.SERVICE_UNAVAILABLE else (response,)


class Api:
    """A client of Prefect's API with the few requests that tests need."""

    def __init__(self, url: str, credential: str | None = None) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, headers=authorization(credential), timeout=30)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Send a POST; if the database is busy, as SQLite's can be, send it again, as Prefect's own client does."""
        (response,) = until(lambda: answered(self.client.post(path, json=body)), f"POST {path}", 60)
        return response

    def ask(self, path: str, **body: Any) -> Any:
        """Return the response to a POST."""
        return self.post(path, body).raise_for_status().json()

    def run(self, identity: str) -> dict[str, Any]:
        """Return a flow run."""
        found: dict[str, Any] = self.client.get(f"flow_runs/{identity}").raise_for_status().json()
        return found

    def ended(self, identity: str, seconds: float = START_SECONDS) -> dict[str, Any]:
        """Wait until a flow run has ended, and return it."""
        return until(lambda: self.in_state(identity, ENDED), f"the end of {identity}", seconds)

    def in_state(self, identity: str, states: set[str]) -> dict[str, Any] | None:
        """Return a flow run if it is in one of these states."""
        run = self.run(identity)
        return run if run["state_type"] in states else None

    def tasks(self, identity: str) -> dict[str, dict[str, Any]]:
        """Return the task runs of a flow run by name."""
        found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [identity]}})
        return {task["name"]: task for task in found}

    def artifacts(self, identity: str) -> dict[str, dict[str, Any]]:
        """Return the artifacts of a flow run by key."""
        found = self.ask("artifacts/filter", flow_runs={"id": {"any_": [identity]}})
        return {one["key"]: one for one in found}

    def deployment(self, name: str, flow: str = "mnist") -> dict[str, Any]:
        """Return a deployment of a flow."""
        found: dict[str, Any] = self.client.get(f"deployments/name/{flow}/{name}").raise_for_status().json()
        return found

    def start(self, deployment: str, flow: str = "mnist", **parameters: Any) -> httpx.Response:
        """Request a run."""
        identity = self.deployment(deployment, flow)["id"]
        return self.post(f"deployments/{identity}/create_flow_run", {"parameters": parameters})

    def logs(self, identity: str) -> list[str]:
        """Return the lines that a flow run and its tasks have logged."""
        found = self.ask("logs/filter", logs={"flow_run_id": {"any_": [identity]}}, sort="TIMESTAMP_ASC")
        return [line["message"] for line in found]


class Serving:
    """A running `mnist serve`."""

    def __init__(self, process: subprocess.Popen[str], port: int, api: Api, credential: str, profiles: Path) -> None:
        self.process, self.port, self.api = process, port, api
        self.credential, self.profiles = credential, profiles

    def processes(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        """The process of the worker."""
        return until(lambda: next((p for p in self.processes() if "worker" in command_of(p)), None), "the worker")

    def stop(self) -> list[psutil.Process]:
        """Send SIGINT, and return the processes that are left."""
        started = self.processes()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)
        return psutil.wait_procs(started, 10)[1]


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, or an empty list if the process has ended in the meantime."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@contextmanager
def serving(
    home: Path,
    root: Path,
    auth: str = "",
    *,
    options: Sequence[str] = (),
    folder: Path | None = None,
    messages: IO[str] | None = None,
    **env: str,
) -> Iterator[Serving]:
    """Run `mnist serve` on a free port, with a new history, and with the user's credential or otherwise the secret.

    Its standard error goes to the file `messages`, if given.
    """
    port = free_port()
    settings = {"PREFECT_HOME": str(home)} | ({"PREFECT_SERVER_API_AUTH_STRING": auth} if auth else {}) | env
    with subprocess.Popen(
        [MNIST, "serve", "--port", str(port), "--root", root, "--json", *options],
        env=without_prefect(os.environ) | settings,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
    ) as process:
        try:
            assert process.stdout
            said = json.loads(process.stdout.readline() or "null")
            assert said, "mnist serve ended before it was ready"
            credential = auth or Path(said["auth"]).read_text().strip()
            api = Api(f"{said['api']}/", credential)
            with api.client:
                yield Serving(process, port, api, credential, Path(said["profiles"]))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def without_prefect(env: Any) -> dict[str, str]:
    """Return an environment without the variables of the session's Prefect server or of any other server."""
    return {name: value for name, value in env.items() if not name.startswith(("PREFECT_API", "PREFECT_PROFILES"))}
