import ast
import re
from importlib import metadata
from pathlib import Path

import pytest

from tasks.engine.code_digest import (
    CODE_ROOT,
    PLUMBING,
    first_party_imports,
    module_path,
    normalized_source,
    source_of,
    transitive_imports,
)

STEPS = {
    ".".join(path.relative_to(CODE_ROOT).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted((CODE_ROOT / "tasks").rglob("*.py"))
    if "@step(" in path.read_text()
}
# Libraries that shape the output of a step, by the name of their import.
FORMATS = {
    name: name
    for name in ("cleanlab", "keras", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "statsmodels", "tensorflow")
}
FORMATS |= {"PIL": "pillow", "sklearn": "scikit-learn"}


def test_comments_docstrings_and_layout_do_not_count() -> None:
    one = 'def f(a):\n    """Say it."""\n    # why\n    return a + 1\n'
    two = "def f( a ):\n\n    return (a + 1)"
    three = one.replace("+ 1", "+ 2")
    first, second, third = (normalized_source(ast.parse(source)) for source in (one, two, three))
    assert first == second
    assert first != third


def test_both_forms_of_import_are_followed() -> None:
    source = (
        "from tasks import errors\nfrom tasks.config.dataset import Dataset\nimport tasks.schemas.study\nimport numpy"
    )
    assert set(first_party_imports(ast.parse(source))) == {
        "tasks",
        "tasks.errors",
        "tasks.config.dataset",
        "tasks.schemas.study",
    }


def test_a_training_depends_on_the_network_and_not_on_the_report() -> None:
    found = transitive_imports("tasks.steps.train")
    assert {
        "tasks.training.network",
        "tasks.config.recipe",
        "tasks.data.split_parquet",
        "tasks.schemas.records",
    } <= found
    assert not {name for name in found if name.startswith(("artifacts", "flows")) or "report" in name}


def test_the_digest_covers_the_code_that_seeds_a_training_but_not_the_code_that_runs_it() -> None:
    assert "tasks.training.keras_runtime" in transitive_imports("tasks.steps.train")  # it contains `seed_everything`
    assert [name for name in PLUMBING if not module_path(name)] == []
    assert not transitive_imports("tasks.steps.train") & PLUMBING


def test_all_steps_are_found() -> None:
    assert len(STEPS) >= 15


def test_a_module_without_a_source_is_refused() -> None:
    with pytest.raises(ModuleNotFoundError):
        source_of("tasks.no_such")


@pytest.mark.parametrize("name", STEPS)
def test_a_step_names_the_libraries_that_shape_its_output(name: str) -> None:
    used = {library for module in transitive_imports(name) for library in libraries(source_of(module))}
    (call,) = (
        decorator
        for node in STEPS[name].body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "step"
    )
    declared = {ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg == "libraries"}
    assert set().union(*declared) == {FORMATS[name] for name in used & FORMATS.keys()} | (
        {"tensorflow"} if "keras" in used else set()
    )


def libraries(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_every_library_that_is_imported_is_declared() -> None:
    declared = {
        re.split(r"[;<>\[]", requirement)[0].strip() for requirement in metadata.requires("mnist-error-analysis") or ()
    }
    sources = [path for folder in ("flows", "tasks", "artifacts") for path in (CODE_ROOT / folder).rglob("*.py")]
    used = {library for path in sources for library in libraries(Path(path).read_text())}
    packages = metadata.packages_distributions()
    third_party = {
        packages[name][0].lower() for name in used if name in packages and name not in {"flows", "tasks", "artifacts"}
    }
    assert {name.replace("_", "-") for name in third_party} <= {name.lower() for name in declared}
