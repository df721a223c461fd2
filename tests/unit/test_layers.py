"""Test that slow libraries are imported only where needed. The layers are contracts in pyproject.toml."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.tools.layout import faults
from tests.tools.names import defined_twice
from tests.unit.storage.test_roots import FIXTURE

PROJECT = Path(__file__).parents[2]


def test_no_flow_is_named_like_a_top_level_folder() -> None:
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()}
    modules = {path.stem for path in (PROJECT / "flows").rglob("*.py")}
    assert "mnist" in modules
    assert not folders & modules


def test_no_folder_of_flows_is_named_like_a_library() -> None:
    folders = {path.name for path in (PROJECT / "flows").iterdir() if path.is_dir()}
    assert "cli" in folders
    assert not folders & {"prefect", "dask", "ray"}  # Prefect can put `flows` on `sys.path`


def test_a_folder_with_too_many_modules_is_found(tmp_path: Path) -> None:
    for name in ("flows", "tasks", "artifacts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    assert list(faults(tmp_path)) == []
    for number in range(4):
        (tmp_path / "tasks" / f"module_{number}.py").touch()
    assert [fault.split(":")[0] for fault in faults(tmp_path)] == ["tasks has 4 modules, more than 3"]


def test_a_public_name_that_two_modules_define_is_found(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.py").write_text("_private = MOST, least = 1, 2\ndef read(): ...\n")
    (tmp_path / "tasks" / "two.py").write_text("from tasks.one import MOST\n_private: int = 1\nclass read: ...\n")
    assert defined_twice(tmp_path) == {"read": ["tasks/one.py", "tasks/two.py"]}


# The libraries that take longest to import; the imports of a command that needs none of them take a fifth of a second.
SLOW = (
    "aiohttp asyncio botocore fastapi fsspec httpx jinja2 matplotlib numpy opentelemetry pandas PIL prefect pyarrow redis s3fs "
    "scipy sklearn sqlalchemy statsmodels tensorflow"
)
FLOW_SLOW = "keras sklearn statsmodels tensorflow"


def imported_by(what: str, folder: Path) -> set[str]:
    """Return the modules that a process imports that runs some code."""
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; {what}; print(*sys.modules)"],
        env={"MNIST_ROOT": str(folder / "root"), "PREFECT_HOME": str(folder)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(found.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", ["", "--help", "--version", "run --help", "serve --help"])
def test_help_needs_no_library_but_click(command: str, tmp_path: Path) -> None:
    imported = imported_by(f"from flows.cli.outcome import run_outcome; run_outcome({command.split()})", tmp_path)
    assert "flows.cli.run" in imported
    assert not {"pydantic", "rich", *SLOW.split()} & imported


@pytest.mark.parametrize(
    "command",
    [
        *("runs", "runs --json", "champion", "champion rollback", "dataset list", "verify", "verify nope"),
        *(
            "run --recipe nope",
            "run --epochs 0 --root s3://bucket?x",
            "run --runner dask://host",
            "run --root /dev/null",
        ),
        *("study --seeds 1", "serve --host fe80::1%lo", "worker --allow-runner foo"),
    ],
)
def test_a_command_that_only_reads_or_refuses_its_input_imports_no_slow_library(command: str, tmp_path: Path) -> None:
    imported = imported_by(f"from flows.cli.outcome import run_outcome; run_outcome({command.split()})", tmp_path)
    assert "flows.cli.run" in imported
    assert not set(SLOW.split()) & imported


def test_a_comparison_does_not_import_prefect_which_would_create_its_home(tmp_path: Path) -> None:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    runs = sorted(path.name for path in (tmp_path / "root" / "runs").iterdir())
    imported = imported_by(f"from flows.cli.outcome import run_outcome; run_outcome({['compare', *runs]})", tmp_path)
    assert "tasks.analysis.paired_comparison" in imported
    assert "prefect" not in imported


def test_the_process_of_a_flow_does_not_import_the_libraries_of_its_workers(tmp_path: Path) -> None:
    imported = imported_by("import flows.mnist", tmp_path)
    assert "flows.mnist" in imported
    assert not set(FLOW_SLOW.split()) & imported
