"""Test that slow libraries are imported only where needed. The layers are contracts in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.layout import faults
from tests.tools.names import defined_twice

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


@pytest.mark.parametrize(
    ("what", "not_needed"),
    [
        (
            "from flows.cli.run import cli; cli.main(['--help'], standalone_mode=False)",
            "numpy prefect pydantic pyarrow tensorflow",
        ),
        (
            "from flows.cli.run import cli; cli.main(['runs'], standalone_mode=False)",
            "numpy prefect pyarrow tensorflow",
        ),
        ("import flows.mnist", "keras sklearn statsmodels tensorflow"),
    ],
)
def test_slow_libraries_are_imported_only_where_they_are_needed(what: str, not_needed: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; {what}; print(*sys.modules)"],
        env={"MNIST_ROOT": str(tmp_path), "PREFECT_HOME": str(tmp_path)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = found.stdout.splitlines()[-1].split()
    assert "flows" in imported
    assert not set(not_needed.split()) & set(imported)
