"""Check that no folder has too many modules: `python -m tests.tools.layout`."""

import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "artifacts")
MAX_MODULES = 15  # modules in a folder, without `__init__.py`
# Limits of individual folders.
LIMITS = {"tasks": 3, "flows": 7, "tasks/steps": 20}


def faults(project: Path) -> Iterator[str]:
    """Yield a line for each folder that has more modules than its limit or is not a package."""
    for package in PACKAGES:
        folders = sorted({path.parent for path in (project / package).rglob("*.py")})
        if not folders:
            yield f"{package} has no modules"
        for folder in folders:
            name = folder.relative_to(project).as_posix()
            count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
            if count > (most := LIMITS.get(name, MAX_MODULES)):
                yield f"{name} has {count} modules, more than {most}: move the modules of one subject into a subfolder"
            if not (folder / "__init__.py").exists():
                yield f"{name} has no __init__.py: add one"


def main() -> None:
    """Print all faults, and exit with code 1 if there are any."""
    if found := list(faults(PROJECT)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
