"""Decide which files an import loads, and run code around the import of a library.

The project's packages are loaded only from this project. The current folder, which libraries add to the path, is
searched last. `AROUND` names the libraries that are imported with other settings, or whose functions are wrapped.

This module is imported before anything else, so it uses only a small part of the standard library.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# pathlib is slow to import
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
CURRENT_FOLDER = frozenset({"", "."})  # as libraries add it to sys.path
_PACKAGES = frozenset({"artifacts", "deployments", "flows", "tasks"})


class OwnFinder:
    """Import finder that loads this project's packages only from this project, and executes modules as in `AROUND`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Find a package of this project in the project folder, or a module of `AROUND`."""
        for entry in CURRENT_FOLDER & set(sys.path[:-1]):  # Prefect's database migrations put it first
            sys.path.append(entry)
            sys.path.remove(entry)  # removes the first occurrence
        if name in _PACKAGES and path is None:
            return PathFinder.find_spec(name, [PROJECT])
        if name in AROUND and (spec := PathFinder.find_spec(name, path)) and spec.loader:
            spec.loader.exec_module = _executed_in(AROUND[name], spec.loader.exec_module)  # type: ignore[method-assign, assignment]
            return spec
        return None


def _executed_in(
    around: Callable[[ModuleType], AbstractContextManager[None]], execute: Callable[[ModuleType], None]
) -> Callable[[ModuleType], None]:
    """Return a function that executes a module in a context."""

    def executed(module: ModuleType) -> None:
        with around(module):
            execute(module)

    return executed


@contextmanager
def _own_settings(matplotlib: ModuleType) -> Iterator[None]:
    """Let Matplotlib read its default settings, and ignore any other `matplotlibrc`."""
    import logging  # noqa: PLC0415

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs where its cache is, if not in ~
    before = os.environ.get("MATPLOTLIBRC")
    os.environ["MATPLOTLIBRC"] = os.path.join(os.path.dirname(str(matplotlib.__file__)), "mpl-data")  # noqa: PTH118, PTH120
    try:
        with _unseen("matplotlibrc"):
            yield
    finally:
        del os.environ["MATPLOTLIBRC"]
        if before is not None:
            os.environ["MATPLOTLIBRC"] = before


@contextmanager
def _unseen(name: str) -> Iterator[None]:
    """Hide the file `name` of the current folder from `os.path.exists`.

    Matplotlib looks in the current folder before it reads the environment.
    """
    exists = os.path.exists
    os.path.exists = lambda path: path != name and exists(path)
    try:
        yield
    finally:
        os.path.exists = exists


# The context in which a module is executed, by the name of the module.
AROUND: dict[str, Callable[[ModuleType], AbstractContextManager[None]]] = {"matplotlib": _own_settings}
