"""Test trainings on Dask and Ray clusters.

The results are the same as without a cluster, even if a worker is killed. Incompatible workers are rejected.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.runners import dask_runner
from flows.runners.base import api_url
from flows.runners.compatibility import EnvironmentFingerprint, incompatibilities, is_stale, probe_file
from flows.runners.factory import open_workers
from tasks.errors import WorkerError
from tasks.storage.roots import validate_root
from tests.support import data
from tests.support.clusters import Cluster, cluster, ray_head

MNIST = Path(sys.executable).with_name("mnist")
PROJECT = Path(__file__).parents[3]
SECONDS = 420  # a study with a killed worker took 280 s on two cores that other tests used too
RECIPE = """
base = "post"
name = "mine"

[[ensembles]]
name = "both"
members = ["plain", "batch_norm"]
"""


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "dask") as made:
        yield made


def mnist(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"RAY_AUTH_MODE": "disabled"}
    return subprocess.run([MNIST, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, env=env)


def made(root: Path) -> set[str]:
    """Return the names of the models and predictions under a root; the names contain the hash of the content."""
    return {path.name for folder in ("models", "predictions") for path in (root / folder).iterdir()}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    toml = data.make(tmp_path_factory.mktemp("mirror"), data.FEW).toml()
    return ["--dataset", str(toml), "--epochs", "2", "--json"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the option for a recipe of the post's networks and of an ensemble of both."""
    path = tmp_path_factory.mktemp("recipe") / "mine.toml"
    path.write_text(RECIPE)
    return ["--recipe", str(path)]


@pytest.fixture(scope="module")
def alone(recipe: list[str], options: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the result of a study without a cluster."""
    root = tmp_path_factory.mktemp("alone")
    done = mnist("study", "--seeds", "2", *recipe, *options, "--root", root)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "made": made(root)}


@contextmanager
def killing(root: Path, kill: Callable[[], object]) -> Iterator[None]:
    """Kill a worker after two trainings have begun."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.3):
            if len(list((root / "locks").glob("train-*.lock"))) >= 2:
                ended.wait(1)
                kill()
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def steps(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return {step["name"]: step for step in json.loads(done.stdout)["steps"]}


@pytest.mark.timeout(2 * SECONDS)  # a study and a run, one of which loses a worker
def test_on_dask_a_study_has_the_same_records_though_a_worker_is_killed_in_a_training(
    dask: Cluster, recipe: list[str], options: list[str], alone: dict[str, Any], tmp_path: Path
) -> None:
    root, runner = tmp_path / "root", f"dask://{dask.address}"
    doomed, _ = dask.add(), dask.add()
    with killing(root, doomed.kill):
        done = mnist("study", "--seeds", "2", *recipe, *options, "--root", root, "--runner", runner)
    assert done.returncode == 0, done.stderr
    assert doomed.wait() == -signal.SIGKILL
    found = json.loads(done.stdout)
    assert made(root) == alone["made"]
    for what in ("seeds", "pairs", "verdict"):
        assert found[what] == alone[what]
    assert [arm["errors"] for arm in found["arms"]] == [arm["errors"] for arm in alone["arms"]]
    # The remaining worker can do a complete run.
    run = steps(mnist("run", "--no-gate", *options, "--root", root, "--runner", runner))
    assert run["train plain"]["cached"]
    assert not run["explain plain"]["cached"]
    assert mnist("verify", "--root", root).returncode == 0


@pytest.mark.timeout(2 * SECONDS)  # a run that loses a worker, and the study that it is compared with
def test_on_ray_a_run_has_the_same_records_though_a_worker_is_killed_in_a_training(
    recipe: list[str], options: list[str], alone: dict[str, Any], tmp_path: Path
) -> None:
    root, killed = tmp_path / "root", list[int]()

    def kill() -> None:
        for process in psutil.process_iter(["cmdline"]):
            if not killed and "".join(process.info["cmdline"] or [])[:10] == "ray::train":
                process.kill()
                killed.append(process.pid)

    with ray_head(tmp_path) as address, killing(root, kill):
        run = steps(mnist("run", "--no-gate", *recipe, *options, "--root", root, "--runner", f"ray://{address}"))
    assert len(killed) == 1
    for name in ("train plain", "train batch_norm", "combine both", "evaluate both on test", "explain both"):
        assert not run[name]["cached"]
    # A run has the models and predictions of the study's first seed, and predictions on the training images.
    of_study = {name for name in made(root) if "-train-" not in name}
    assert of_study < alone["made"]
    assert len(of_study) == len(alone["made"]) / 2
    assert mnist("verify", "--root", root).returncode == 0


def test_a_worker_with_other_code_is_found_out_before_it_trains(
    dask: Cluster, options: list[str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    for folder in ("flows", "tasks", "artifacts"):
        shutil.copytree(PROJECT / folder, copy / folder)
    network = copy / "tasks" / "training" / "network.py"
    network.write_text(network.read_text() + "\n\nOTHER = 1\n")
    dask.add(project=copy)
    root = tmp_path / "root"
    done = mnist("run", *options, "--root", root, "--runner", f"dask://{dask.address}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("mnist: the Dask worker tcp://127.0.0.1:")
    assert last.endswith("has different code (tasks.training.network): install the same version there, and restart it")
    assert not (root / "models").exists()
    assert not list((root / "locks").glob("cluster-*"))


@pytest.mark.usefixtures("prefect")
def test_a_cluster_without_a_scheduler_without_a_worker_or_with_several_threads_is_refused(
    dask: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_runner, "_JOIN_SECONDS", 1)
    validate_root(tmp_path / "root")

    def refused(address: str, why: str) -> None:
        workers = open_workers(f"dask://{address}", [], tmp_path / "root", ahead=False)
        with pytest.raises(WorkerError, match=why), workers:
            pass

    refused("127.0.0.1:9", "^no Dask scheduler answers at 127.0.0.1:9")
    refused(dask.address, "has no worker: start one")
    dask.add(threads=2)
    refused(dask.address, "has 2 threads, but can run only one training at a time: start it with --nthreads 1")


def test_a_missing_ray_cluster_is_reported(options: list[str], tmp_path: Path) -> None:
    done = mnist("run", *options, "--root", tmp_path / "root", "--runner", "ray://127.0.0.1:9")
    assert done.returncode == 2
    said = "no Ray cluster answers at ray://127.0.0.1:9: [Errno 111] Connection refused; start it"
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_ray_cluster_that_does_not_answer_is_asked_once_more(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    from flows.runners import ray_runner  # Ray is slow to import

    left = [ConnectionError("ray client connection timeout")] * failures

    @contextmanager
    def runner(**_: object) -> Iterator[str]:
        if left:
            raise left.pop()
        yield "connected"

    monkeypatch.setattr(ray_runner, "RayTaskRunner", runner)
    refused = pytest.raises(WorkerError, match="ray client connection timeout; start it")
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as head,
        nullcontext() if failures == 1 else refused,
        ray_runner._connect_to_ray(f"ray://127.0.0.1:{head.getsockname()[1]}") as found,
    ):
        assert str(found) == "connected"


@pytest.mark.usefixtures("prefect")
def test_incompatibilities_of_a_worker_are_reported_with_a_remedy(tmp_path: Path) -> None:
    api, here = api_url(), EnvironmentFingerprint.here()
    with probe_file(tmp_path / "root") as mark:
        assert list(incompatibilities(here, mark, api, 1)) == []
        assert [fault.split(",")[0] for fault in incompatibilities(here, mark, api, 2)] == ["has 2 threads"]
        other = here._replace(libraries={**here.libraries, "keras": "1.0"})
        assert [fault.split(":")[0] for fault in incompatibilities(other, mark, api, 1)] == [
            f"has different libraries (keras {here.libraries['keras']}, not 1.0)"
        ]
        other = here._replace(environment={"TF_ENABLE_ONEDNN_OPTS": "0"})
        (fault,) = incompatibilities(other, mark, api, 1)
        assert fault.startswith("computes with TF_ENABLE_ONEDNN_OPTS=1, not with TF_ENABLE_ONEDNN_OPTS=0: restart it")
        (fault,) = incompatibilities(here, mark, "http://127.0.0.1:9/api", 1)
        assert fault.startswith("can't reach the Prefect server at http://127.0.0.1:9/api")
    (fault,) = incompatibilities(here, mark, api, 1)
    assert fault.startswith(f"does not see the files under the root {tmp_path / 'root'}")


def test_code_that_has_changed_since_a_process_imported_it_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_stale("tasks.storage.content_files")
    monkeypatch.setattr("psutil.Process.create_time", lambda _self: 0.0)
    assert is_stale("tasks.storage.content_files")
    assert not is_stale("tasks.no_such_module")
