"""Trainings on a Ray cluster: the same results as on this machine, though a worker is killed."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests import data
from tests.clusters import ray_head

MNIST = Path(sys.executable).with_name("mnist")
SECONDS = 280


def mnist(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"RAY_AUTH_MODE": "disabled"}
    return subprocess.run([MNIST, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, env=env)


def made(root: Path) -> set[str]:
    return {path.name for folder in ("models", "predictions") for path in (root / folder).iterdir()}


def kill_one_in_training(root: Path, killed: list[int]) -> None:
    """Kill a process of the cluster once two trainings have begun."""
    limit = time.monotonic() + SECONDS
    while len(list((root / "locks").glob("train-*.lock"))) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep(1)
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] and process.info["cmdline"][0].startswith("ray::train"):
            process.kill()
            killed.append(process.pid)
            return


def test_a_study_has_the_same_records_though_a_worker_is_killed_in_a_training(tmp_path: Path) -> None:
    toml = data.make(tmp_path / "mirror", data.FEW).toml()
    options = ["study", "--seeds", "2", "--dataset", str(toml), "--epochs", "2", "--json"]
    here, there = tmp_path / "here", tmp_path / "there"
    killed: list[int] = []
    with ray_head(tmp_path) as address:
        thread = threading.Thread(target=kill_one_in_training, args=(there, killed))
        thread.start()
        done = mnist(*options, "--root", str(there), "--runner", f"ray://{address}")
        thread.join()
        assert done.returncode == 0, done.stderr
        run = mnist("run", "--dataset", str(toml), "--epochs", "2", "--seed", "3", "--no-gate", "--root", str(there),
                    "--runner", f"ray://{address}")  # fmt: skip
        assert run.returncode == 0, run.stderr
    assert len(killed) == 1
    alone = mnist(*options, "--root", str(here))
    assert alone.returncode == 0, alone.stderr
    assert made(here) < made(there)  # where there is a run's, too
    assert mnist("verify", "--root", str(there)).returncode == 0


def test_without_a_cluster_it_is_said(tmp_path: Path) -> None:
    toml = data.make(tmp_path / "mirror", data.FEW).toml()
    done = mnist("run", "--dataset", str(toml), "--root", str(tmp_path / "root"), "--runner", "ray://127.0.0.1:9")
    assert done.returncode == 2
    assert "no Ray cluster answers at ray://127.0.0.1:9" in done.stderr.splitlines()[-1]
