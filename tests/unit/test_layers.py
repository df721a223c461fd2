"""The layers import in one direction: flows -> tasks -> artifacts, and artifacts only the records that they draw.

And nobody imports what takes long and is of no use there.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FORBIDDEN = {
    "tasks": ("flows", "deployments", "tests"),
    "artifacts": ("flows", "deployments", "tests"),
    "flows": ("tests", "deployments"),
}
DRAWN = {
    "tasks.schemas.analysis",
    "tasks.schemas.architecture",
    "tasks.schemas.findings",
    "tasks.safety.plain_text",  # and what keeps texts of users plain
    "tasks.schemas.records",
    "tasks.schemas.results",
    "tasks.schemas.robustness",
    "tasks.history.run_store",
    "tasks.schemas.study",
}


def modules(folder: str) -> list[Path]:
    return sorted((PROJECT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_a_layer_imports_nothing_above_it(folder: str) -> None:
    assert modules(folder)
    for path in modules(folder):
        assert not {name for name in imports(path) if name.split(".")[0] in FORBIDDEN[folder]}, path


def test_artifacts_import_only_the_records_that_they_draw() -> None:
    for path in modules("artifacts"):
        assert {name for name in imports(path) if name.startswith("tasks")} <= DRAWN, path


def test_only_the_tasks_that_draw_and_report_import_artifacts() -> None:
    users = {path.stem for path in modules("tasks") if any(name.startswith("artifacts") for name in imports(path))}
    assert users == {"draw", "report", "publish"}


def test_no_flow_is_named_like_a_top_level_folder() -> None:
    folders = {path.name for path in PROJECT.iterdir() if path.is_dir()}
    assert not folders & {path.stem for path in modules("flows")}


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
def test_what_takes_long_to_import_is_imported_where_it_is_needed(what: str, not_needed: str, tmp_path: Path) -> None:
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
