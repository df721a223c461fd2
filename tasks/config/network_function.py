"""Functions: a network that a user has written in Python, found when its recipe is loaded and imported where it is trained.

In: a model of a recipe's file. Out: the same with the function's file and its hash; and later the function itself.
Refuses: what can't be found or imported, and a file that has changed in between. A recipe with a function runs its code:
in a worker's run, which is asked for from elsewhere, only if nobody but the worker's user and root can have written it.
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
from tasks.filesystem.trusted_files import refuse_foreign


def resolve_function(model: Any, recipe: Path) -> Any:
    """The values of a model, and where they name a function, its file and that file's hash; `recipe` is the recipe's file.

    Raises:
        RecipeError: there is no such file or module, or it is not to be trusted.
    """
    function = model.get("function") if isinstance(model, dict) else None
    if not isinstance(function, str) or ":" not in function:
        return model  # which is refused, or has layers
    refuse_foreign(recipe)  # before a package that it names is imported
    path = file_of(function, recipe.parent)
    refuse_foreign(path)
    return {**model, "file": path, "code": code_of(function, path)}


def code_of(function: str, path: Path) -> str:
    """The SHA-256 of a function's file.

    Raises:
        RecipeError: it can't be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise RecipeError(f"the function {function}: can't read {path}: {error.strerror or error}") from error


def file_of(function: str, folder: Path) -> Path:
    """The file that a function stands in.

    Raises:
        RecipeError: there is no such module, or the `~` of a path is nobody's.
    """
    place, _, _ = function.rpartition(":")
    if place.endswith(".py"):
        return (folder / expand_user(place, "function's file", RecipeError)).absolute()
    try:
        spec = importlib.util.find_spec(place)
    except (Exception, SystemExit) as error:  # whatever the packages above it do when they are imported
        raise RecipeError(f"the function {function}: can't import {place}: {fault_in_function(error)}") from error
    if spec is None or not spec.has_location or spec.origin is None:
        raise RecipeError(
            f"the function {function}: there is no module {place}; give a path that ends in .py, or install it"
        )
    return Path(spec.origin)


def import_function(function: str, file: Path | None, code: str | None) -> Callable[..., Any]:
    """The function itself.

    Raises:
        RecipeError: its file has gone or changed, can't be imported, or holds no such function.
    """
    place, _, called = function.rpartition(":")
    found = file or file_of(function, Path.cwd())
    if code_of(function, found) != code:
        raise RecipeError(f"the function {function}: {found} is another than when the run began; run again")
    try:
        module = _module_of(found) if place.endswith(".py") else importlib.import_module(place)
        made = getattr(module, called)
    except (Exception, SystemExit) as error:  # a script without a main guard calls sys.exit
        raise RecipeError(f"the function {function} can't be imported: {fault_in_function(error)}") from error
    if not callable(made):
        raise RecipeError(f"the function {function} is none: it is a {type(made).__name__}")
    return made  # type: ignore[no-any-return]


def fault_in_function(error: BaseException) -> str:
    """Say in one line why code of the user's failed."""
    if isinstance(error, SystemExit):
        return (
            f'it exits ({error.code}) instead of returning; put what a script does behind `if __name__ == "__main__":`'
        )
    return first_line(error)


def _module_of(path: Path) -> ModuleType:
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(f"network_{path.stem}", path)
    assert spec  # noqa: S101  # it ends in .py
    assert spec.loader  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
