"""Test the complete flow on a server with the lowest and the highest Prefect version that pyproject.toml allows.

Each version gets a separate environment with the locked versions, as far as that Prefect version allows them. The
locked Prefect version is skipped, because all other tests run with it.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]
LOCK = PROJECT / "requirements.lock"
TESTS = (
    "tests/unit/flows/server/test_guard.py",
    "tests/unit/flows/test_prefect_compat.py",
    "tests/integration/flow/test_mnist.py",
    "tests/integration/server/test_process_worker.py",
    "tests/integration/server/test_serve.py::test_the_deployments_stand_as_the_file_has_them",
    "tests/integration/server/test_serve.py::test_the_schedules_have_runs_that_wait",
    "tests/integration/server/test_serve.py::test_a_client_without_authentication_gets_401",
    "tests/integration/server/test_serve.py::test_a_run_completes_and_its_artifacts_are_there",
)
UV = (sys.executable, "-m", "uv")


def lowest() -> str:
    """Return the lowest version that pyproject.toml allows."""
    dependencies = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bounds,) = (one for one in dependencies if re.match(r"prefect[><=]", one))
    found = re.search(r">=([\d.]+)", bounds)
    assert found, bounds
    return f"{found[1]}.0" if found[1].count(".") == 1 else found[1]


def locked(lock: Path = LOCK) -> str:
    """Return the Prefect version of a lock."""
    found = re.search(r"^prefect==(\S+)", lock.read_text(), re.MULTILINE)
    assert found
    return found[1]


def resolve(folder: Path, *options: str) -> Path:
    """Write a lock for this Python that differs from the project's lock only where the options require it."""
    lock = folder / LOCK.name
    shutil.copy(LOCK, lock)
    command = [
        "pip",
        "compile",
        "--quiet",
        "--extra",
        "dev",
        "--no-annotate",
        "--no-header",
    ]
    subprocess.run([*UV, *command, *options, PROJECT / "pyproject.toml", "--output-file", lock], check=True)
    return lock


def test(lock: Path, folder: Path) -> None:
    """Run the tests of the complete flow in an environment with this lock."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    subprocess.run([*UV, "pip", "sync", "--quiet", "--python", python, lock], check=True)
    install = [
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--no-deps",
        "--no-build-isolation",
        "--editable",
        PROJECT,
    ]
    subprocess.run([*UV, *install], check=True)
    subprocess.run([python, "-m", "pytest", "--quiet", *TESTS], cwd=PROJECT, check=True)


def main() -> None:
    """Test both ends of the version range."""
    with tempfile.TemporaryDirectory() as name:
        places = [Path(name) / end for end in ("lowest", "highest")]
        for place in places:
            place.mkdir()
        wanted = places[0] / "wanted.txt"
        wanted.write_text(f"prefect=={lowest()}\n")
        locks = [resolve(places[0], "--constraints", str(wanted)), resolve(places[1], "--upgrade-package", "prefect")]
        for lock, place in zip(locks, places, strict=True):
            version = locked(lock)
            if version == locked():
                print(f"Prefect {version} is the lock's: tested already")  # noqa: T201
                continue
            print(f"Prefect {version}", flush=True)  # noqa: T201
            test(lock, place)


if __name__ == "__main__":
    main()
