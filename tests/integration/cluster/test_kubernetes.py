"""Test the Dask cluster of `kubernetes.yaml`, with its arguments and environment, but without Kubernetes."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml

from flows.runners.factory import open_workers
from tasks.errors import InputError
from tests.support import recipes
from tests.support.serving import free_port, until

FOLDER = Path(__file__).parents[3] / "deployments"
BIN = Path(sys.executable).parent
TLS = "DASK_DISTRIBUTED__COMM__TLS__"


def certificates(folder: Path) -> dict[str, str]:
    """Create certificates as docs/scale.md describes, and return the printed variables for a client."""
    command = [FOLDER / "certificates", folder]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())


class Cluster:
    """The scheduler and a worker of the manifests on this machine.

    The files of the secret and the address of the service differ here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.client = certificates(folder / "tls")
        manifests = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
        self.deployments = {one["metadata"]["name"]: one for one in manifests if one["kind"] == "Deployment"}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start the command of a pod."""
        (container,) = self.deployments[name]["spec"]["template"]["spec"]["containers"]
        own = {one["name"]: str(one["value"]) for one in container["env"]} | {
            "XDG_CACHE_HOME": str(self.folder / "cache")
        }
        home = self.folder / name
        home.mkdir()
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "MNIST", "TF_", "DASK"))
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [BIN / container["args"][0], *map(self.here, container["args"][1:]), "--host", "127.0.0.1"],
                env=env | own | {"PREFECT_HOME": str(home)}, cwd=home, stdout=log, stderr=log,
            )  # fmt: skip

    def here(self, argument: str) -> str:
        """Replace the paths and the address in an argument with those of this machine."""
        for there, here in (("tls.crt", "cluster.crt"), ("tls.key", "cluster.key"), ("dask-scheduler", "127.0.0.1")):
            argument = argument.replace(there, here)
        return argument.replace("/etc/dask", str(self.folder / "tls")).replace("8786", str(self.port))

    def said(self, name: str, text: str) -> None:
        """Wait until a text is in the log of a process."""
        log = self.folder / f"{name}.log"
        until(lambda: text in log.read_text(), f"{text!r} of {name}", 60)

    @contextmanager
    def up(self) -> Iterator["Cluster"]:
        """Run the cluster while the block runs."""
        started = []
        try:
            for name, text in (("dask-scheduler", "Scheduler at:"), ("dask-worker", "Registered to")):
                started.append(self.start(name))
                self.said(name, text)
            yield self
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGKILL)
                process.wait()

    def mnist(self, runner: str, root: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the flow on the cluster."""
        command = [
            BIN / "mnist",
            "run",
            *recipes.single_run(root.with_name(f"{root.name}-data")),
            "--no-gate",
            "--json",
        ]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DASK")}
        return subprocess.run(
            [*command, "--root", root, "--runner", f"{runner}://127.0.0.1:{self.port}"],
            env=clean | env, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("kubernetes")).up() as cluster:
        yield cluster


def test_everything_of_the_cluster_is_encrypted_and_only_its_own_pods_reach_it() -> None:
    manifests = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    (policy,) = [one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"]
    project = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mnist"}}}
    assert policy == {**project, "policyTypes": ["Ingress"], "ingress": [{"from": [project]}]}
    for one in (one for one in manifests if one["kind"] == "Deployment"):
        template = one["spec"]["template"]
        assert project["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        (container,) = template["spec"]["containers"]
        assert "--protocol=tls" in container["args"]
        assert {"name": "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "value": "true"} in container["env"]
        assert not any("tcp://" in argument for argument in container["args"])
        (secret,) = [volume["secret"] for volume in template["spec"]["volumes"] if "secret" in volume]
        assert secret == {"secretName": "dask-tls", "defaultMode": 0o440}


def test_the_private_keys_are_their_owners_alone(tmp_path: Path) -> None:
    first = certificates(tmp_path / "tls")
    keys = sorted((tmp_path / "tls").glob("*.key"))
    assert [key.name for key in keys] == ["ca.key", "client.key", "cluster.key"]
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    before = [key.read_bytes() for key in keys]
    assert certificates(tmp_path / "tls") == first
    assert [key.read_bytes() for key in keys] == before  # a second call replaces nothing


def without_answer(port: int, context: ssl.SSLContext | None) -> bool:
    """Return whether a Dask scheduler closes the connection after a message."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain) if context else plain as connection:
                connection.sendall(b"\1" + b"\0" * 31)
                time.sleep(1)
                connection.sendall(b"\0" * 32)
                return connection.recv(1) == b""
        except OSError:
            return True


def anonymous(ca: str, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
    """Return the TLS context of a client, with a certificate if one is given."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def test_clients_without_a_certificate_get_no_answer(running: Cluster, tmp_path: Path) -> None:
    certificates(other := tmp_path / "other")
    ca = running.client[f"{TLS}CA_FILE"]
    pair = running.client[f"{TLS}CLIENT__CERT"], running.client[f"{TLS}CLIENT__KEY"]
    assert without_answer(running.port, None)
    assert without_answer(running.port, anonymous(ca))
    assert without_answer(running.port, anonymous(ca, (str(other / "client.crt"), str(other / "client.key"))))
    assert not without_answer(running.port, anonymous(ca, pair))  # Dask sends the first message


@pytest.mark.parametrize("with_ca", [False, True])
def test_without_a_certificate_no_cluster_is_called(running: Cluster, with_ca: bool, tmp_path: Path) -> None:
    given = {"distributed.comm.tls.ca-file": running.client[f"{TLS}CA_FILE"]} if with_ca else {}
    workers = open_workers(f"tls://127.0.0.1:{running.port}", [], tmp_path, ahead=False)
    with (
        dask.config.set(given),
        pytest.raises(InputError, match=r"^the runner tls:// needs a certificate: set "),
        workers,
    ):
        pass


@pytest.mark.parametrize("runner", ["dask", "tls"])
def test_a_run_without_encryption_or_with_another_ca_is_refused_in_one_line(
    running: Cluster, runner: str, tmp_path: Path
) -> None:
    done = running.mnist(
        runner, tmp_path / "root", running.client if runner == "dask" else certificates(tmp_path / "other")
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "no Dask scheduler answers at " in done.stderr.strip().splitlines()[-1]


def test_a_run_with_the_certificate_is_trained_there(running: Cluster, tmp_path: Path) -> None:
    done = running.mnist("tls", tmp_path / "root", running.client)
    assert done.returncode == 0, done.stderr
    steps: dict[str, Any] = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert not steps["train plain"]["cached"]
    assert list((tmp_path / "root" / "models").iterdir())
