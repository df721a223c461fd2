"""Locate and import networks that users write as Python functions.

A function is located and hashed when its recipe is loaded, and imported where the network is trained; a file that
changed in between is rejected. Importing runs the user's code, so a worker accepts a function only from files that
no untrusted user can write (`tasks.filesystem.trusted_files`).
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.errors import RecipeError, first_line
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.regular_files import expand_user
from tasks.filesystem.trusted_files import require_trusted_file


def resolve_function(model: Any, recipe: Path) -> Any:
    """Add the file of a function and the file's hash to the values of a model that names a function.

    Other values are returned unchanged.

    Raises:
        RecipeError: If the file or module does not exist, or is not trusted.
    """
    function = model.get("function") if isinstance(model, dict) else None
    if not isinstance(function, str) or ":" not in function:
        return model  # a model with layers, or one that validation rejects
    require_trusted_file(recipe)  # before the recipe makes this process import a package
    path = file_of(function, recipe.parent)
    require_trusted_file(path)
    return {**model, "file": path, "code": code_of(function, path)}


def code_of(function: str, path: Path) -> str:
    """Return the SHA-256 of a function's file.

    Raises:
        RecipeError: If the file cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise RecipeError(f"the function {function}: can't read {path}: {error.strerror or error}") from error


def file_of(function: str, folder: Path) -> Path:
    """Return the path of the file that defines a function.

    Raises:
        RecipeError: If the module does not exist or its package cannot be imported, or the home directory is unknown.
    """
    place, _, _ = function.rpartition(":")
    if place.endswith(".py"):
        return (folder / expand_user(place, "function's file", RecipeError)).absolute()
    try:
        spec = importlib.util.find_spec(place)
    except (Exception, SystemExit) as error:  # parent packages are imported, and may raise anything
        raise RecipeError(f"the function {function}: can't import {place}: {fault_in_function(error)}") from error
    if spec is None or not spec.has_location or spec.origin is None:
        raise RecipeError(
            f"the function {function}: there is no module {place}; install the module, or give a path that ends in .py"
        )
    return Path(spec.origin)


def import_function(function: str, file: Path | None, code: str | None) -> Callable[..., Any]:
    """Import a network function, and check that its file has not changed.

    Raises:
        RecipeError: If the file is missing or changed, cannot be imported, or does not define the function.
    """
    place, _, called = function.rpartition(":")
    found = file or file_of(function, Path.cwd())
    if code_of(function, found) != code:
        raise RecipeError(f"the function {function}: {found} has changed since the run began; run again")
    try:
        module = _module_of(found) if place.endswith(".py") else importlib.import_module(place)
        made = getattr(module, called)
    except (Exception, SystemExit) as error:  # a script without a main guard may call sys.exit
        raise RecipeError(f"the function {function} can't be imported: {fault_in_function(error)}") from error
    if not callable(made):
        raise RecipeError(f"the function {function} can't be called: it is of type {type(made).__name__}")
    return made  # type: ignore[no-any-return]


def fault_in_function(error: BaseException) -> str:
    """Return the reason why user code failed, in one line."""
    if isinstance(error, SystemExit):
        return (
            f"it exits ({error.code}) instead of returning; "
            'move code that only a script needs below `if __name__ == "__main__":`'
        )
    return first_line(error)


def _module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"network_{path.stem}", path)
    assert spec  # noqa: S101  # there is a loader for every .py file
    assert spec.loader  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
