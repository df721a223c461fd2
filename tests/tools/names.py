"""Check that no two modules define the same public name: `python -m tests.tools.names`."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
ENTRY_POINT = "main"  # allowed in every module that is also a command
PACKAGES = ("flows", "tasks", "artifacts")


def public_names(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines at its top level, without imported names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


def defined_twice(project: Path) -> dict[str, list[str]]:
    """Return the public names that more than one module defines, with the modules that define them."""
    modules: defaultdict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for path in sorted((project / package).rglob("*.py")):
            for name in public_names(ast.parse(path.read_text(encoding="utf-8"))):
                modules[name].add(path.relative_to(project).as_posix())
    return {name: sorted(where) for name, where in sorted(modules.items()) if len(where) > 1 and name != ENTRY_POINT}


def main() -> None:
    """Print each name that is defined twice, with its modules, and exit with code 1 if there is any."""
    found = defined_twice(PROJECT)
    if found:
        lines = [f"{name}: {', '.join(where)}" for name, where in found.items()]
        sys.exit(
            "\n".join(
                [*lines, f"{len(found)} public names are defined in more than one module: rename all but one of each"]
            )
        )


if __name__ == "__main__":
    main()
