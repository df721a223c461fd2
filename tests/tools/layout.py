"""Check that the folders stay small enough to be surveyed: `python -m tests.tools.layout`."""

import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "artifacts")
MOST = 15  # modules in a folder
# Modules in folders with limits of their own, `__init__` apart.
LIMITS = {"tasks": 3, "flows": 7, "tasks/steps": 20}


def faults(project: Path) -> Iterator[str]:
    """Find folders that hold more modules than their limit, and folders of modules that are no packages."""
    for package in PACKAGES:
        folders = sorted({path.parent for path in (project / package).rglob("*.py")})
        if not folders:
            yield f"{package} holds no modules"
        for folder in folders:
            name = folder.relative_to(project).as_posix()
            count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
            if count > (most := LIMITS.get(name, MOST)):
                yield f"{name} holds {count} modules, more than {most}: move some into a folder of their subject"
            if not (folder / "__init__.py").exists():
                yield f"{name} holds no __init__.py"


def main() -> None:
    """Print what is wrong, and exit with 1 if anything is."""
    if found := list(faults(PROJECT)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
