"""Reject settings files that libraries read automatically if another account can have written them.

Prefect reads settings from `.env`, `prefect.toml` and `pyproject.toml` in the current folder, regardless of their
owner, and a setting can name code, a server or a credential. In a folder such as /tmp, any account could thus run code
as this user. Therefore, these files and those in Prefect's home are checked when Prefect is first imported, before it
reads them. In a folder where others can add files later, they are also checked whenever they are opened.

If Prefect can't use its files or variables, the error is one line without the value, which may be a secret.

The package imports this module before any other module, so it imports little of the standard library.
"""
# ruff: noqa: PLC0415  # late imports: a command that does not import Prefect needs none of them

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tasks.safety.imports import AROUND

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from tasks.errors import SettingsError

_PROJECTS = "pyproject.toml"
_OTHER_FILE = re.compile(r"\?|%[0-9A-Fa-f]{2}")  # not taken literally in a database URL
HERE = (".env", "prefect.toml", _PROJECTS)
_HOME = "PREFECT_HOME"
_REMEDY = f"set {_HOME} to a folder that can be written"
IN_HOME = ("profiles.toml", "logging.yml")
NAMED = ("PREFECT_PROFILES_PATH", "PREFECT_LOGGING_CONFIG_PATH", "PREFECT_LOGGING_SETTINGS_PATH")

# The functions that read settings, by module: a function, or a class and its method.
_READERS = {
    "prefect.settings.models.root": ("Settings", "__init__"),
    "prefect.settings.profiles": ("load_profiles",),
    "prefect.logging.configuration": ("setup_logging",),
}
_QUOTING = {"value_error", "assertion_error"}  # errors of Prefect's own checks, whose messages may contain the value

WATCHED: set[str] = set()  # files to check whenever they are opened, spelled as the libraries spell them


def watch_imports() -> None:
    """Check the settings files if Prefect is imported from now on, and report unusable settings in one line."""
    if os.name == "posix":  # on other systems, Python does not report the owner of a file
        AROUND["prefect"] = _after_check
        AROUND.update(dict.fromkeys(_READERS, _with_refusals))


@contextmanager
def _after_check(_prefect: "ModuleType") -> "Iterator[None]":
    """Check the settings files before Prefect reads them."""
    require_trusted_settings()
    yield


def require_trusted_settings() -> None:
    """Reject settings files that another account can have written or can write later.

    Raises:
        SettingsError: If a file, its folder or Prefect's home belongs to another account or can be written by others.
    """
    from tasks.filesystem.trusted_files import is_open

    paths = [*settings_files()]
    for path in paths:
        if os.path.lexists(path):
            _refuse(path)
    shared = {str(path) for path in paths if is_open(path.parent)}
    if shared and not WATCHED:  # the hook costs about 0.2 us per event: 50 ms for an import of TensorFlow
        sys.addaudithook(_check_opened_file)
    WATCHED.update(shared)


def _check_opened_file(event: str, arguments: tuple[Any, ...]) -> None:
    """Check a settings file again when it is opened for reading.

    The file exists then, because the libraries look for it first.
    """
    if event == "open" and isinstance(arguments[0], str) and arguments[0] in WATCHED:
        from pathlib import Path

        name, _, flags = arguments
        if not flags & os.O_CREAT:
            _refuse(Path(name))


def settings_files() -> "Iterator[Path]":
    """Yield the paths of the settings files, which may be missing, and Prefect's home."""
    from pathlib import Path

    yield from map(Path, HERE)
    home = prefect_home()
    yield home
    for folder in dict.fromkeys((home, Path(os.environ.get(_HOME) or home))):  # Prefect also takes a `~` literally
        yield from (folder / name for name in IN_HOME)
    for name in NAMED:
        if value := os.environ.get(name):
            yield Path(value.replace(f"${_HOME}", str(home)))


def prefect_home() -> "Path":
    """Return the folder of Prefect's profiles, history and results, according to the environment."""
    from pathlib import Path

    return Path(os.path.expanduser(os.environ.get(_HOME) or "~/.prefect"))  # noqa: PTH111  # Path's needs a home


def require_writable_home() -> None:
    """Create Prefect's home, where a local server keeps its history.

    Raises:
        SettingsError: If the account has no home directory, or Prefect's home can't be created, written, or named in
            the address of a database.
    """
    from tasks.errors import SettingsError

    home = _nameable_home()
    try:
        home.mkdir(mode=0o700, parents=bool(os.environ.get(_HOME)), exist_ok=True)
    except OSError as error:
        raise SettingsError(f"can't create Prefect's home {home}: {error.strerror or error}; {_REMEDY}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise SettingsError(f"can't write to Prefect's home {home}; {_REMEDY}")


def require_usable_home() -> None:
    """Check that `require_writable_home` would succeed, without creating anything.

    Raises:
        SettingsError: As from `require_writable_home`.
    """
    from tasks.errors import SettingsError
    from tasks.filesystem.regular_files import nearest_existing

    home = _nameable_home()
    folder = nearest_existing(home)
    if folder not in {home, home.parent} and not os.environ.get(_HOME):
        raise SettingsError(f"can't create Prefect's home {home}: there is no folder {home.parent}; {_REMEDY}")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"can't {'write to' if folder == home else 'create'} Prefect's home {home}; {_REMEDY}")


def _nameable_home() -> "Path":
    """Return Prefect's home if its path is known and can be a part of the address of a database.

    Raises:
        SettingsError: If it is not.
    """
    from tasks.errors import SettingsError

    home = prefect_home()
    if str(home).startswith("~"):
        raise SettingsError(f"this account has no home directory, where Prefect keeps its history: {_REMEDY}")
    if _OTHER_FILE.search(str(home)):
        raise SettingsError(
            f"can't use Prefect's home {home}: Prefect would put its database elsewhere; set {_HOME} to a folder without ? "
            "and % in its path"
        )
    return home


@contextmanager
def without_new_home() -> "Iterator[None]":
    """Remove Prefect's home after the block if the block has created it and left it empty.

    The import of Prefect creates it, and in a terminal it also writes notes of its telemetry there unless telemetry is
    off. A command that only reads must not create anything.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    home = prefect_home()
    existed = home.exists()
    try:
        yield
    finally:
        if not existed:
            with suppress(OSError):  # it is not empty, or was not created
                home.rmdir()


def _refuse(path: "Path") -> None:
    """Check that no other account can have written or can replace a settings file or folder, and that it can be read.

    Prefect would wait forever for the end of a pipe.
    """
    from tasks.errors import SettingsError
    from tasks.filesystem.regular_files import irregular_kind
    from tasks.filesystem.trusted_files import trust_fault

    if _is_projects(path):
        return
    if kind := irregular_kind(path):
        raise SettingsError(f"can't read settings from {path.absolute()}: {kind}, not a regular file; remove it")
    given, real = path.absolute(), path.resolve()
    # Folders further up need no check: an account that replaces this folder owns the files in the new one.
    beside = () if path == prefect_home() else (given.parent, real.parent)
    for one in dict.fromkeys((given, real, *beside)):
        if fault := trust_fault(one):
            of = "it" if one == given else given
            elsewhere = (
                "run the command in another folder" if path.name == str(path) else f"set another {_HOME} or path"
            )
            raise SettingsError(
                f"{one} {fault}, and settings would be read from {of}, which can name code to run: "
                f"remove it, change its owner or mode, or {elsewhere}"
            )


def _is_projects(path: "Path") -> bool:
    """Return whether a file is the project's own `pyproject.toml`.

    An account that can write to its folder can also write this code.
    """
    from pathlib import Path

    return path.name == _PROJECTS and path.parent.samefile(Path(__file__).parents[2])


@contextmanager
def _with_refusals(module: "ModuleType") -> "Iterator[None]":
    """Wrap a module's reader of settings with `_refusing` once the module has been executed."""
    yield
    *outer, name = _READERS[module.__name__]
    owner: Any = module
    for one in outer:
        owner = getattr(owner, one)
    setattr(owner, name, _refusing(getattr(owner, name)))


def _refusing(read: "Callable[..., Any]") -> "Callable[..., Any]":
    """Return a wrapper for a function that reads settings.

    The wrapper raises a SettingsError that names the unusable setting.
    """
    from functools import wraps

    @wraps(read)
    def called(*args: Any, **kwargs: Any) -> Any:
        from tasks.errors import MnistError

        try:
            return read(*args, **kwargs)
        except (MnistError, ImportError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  # any error of a parser or a check
            line = _what_is_wrong(error)
        raise _refusal(line)  # not in the handler: the text of the chained error contains the value

    return called


def _refusal(line: str) -> "SettingsError":
    """Return the error for settings that Prefect can't use.

    It is also a pydantic-settings error: Prefect prints the text of any other error during its import.
    """
    from pydantic_settings.exceptions import SettingsError as PrefectsError

    from tasks.errors import SettingsError

    class UnusableError(SettingsError, PrefectsError):
        """Settings that Prefect can't use."""

    return UnusableError(
        f"Prefect can't use its settings: {line}; correct the variable, or the file that sets it: "
        f"{', '.join(HERE)} in the current folder, {' or '.join(IN_HOME)} in Prefect's home"
    )


def _what_is_wrong(error: Exception) -> str:
    """Return what is wrong with the settings; messages that may contain a value are left out."""
    from pydantic import ValidationError

    from tasks.errors import first_line

    if not isinstance(error, ValidationError):
        return first_line(error) if isinstance(error, ValueError) else type(error).__name__
    from prefect.settings.base import PrefectBaseSettings

    prefixes = {one.__name__: one.model_config.get("env_prefix") for one in PrefectBaseSettings.__subclasses__()}
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    name = ".".join(str(one) for one in first["loc"]).upper() or "the combination of its settings"
    return f"{prefixes.get(error.title) or ''}{name}: {'not valid' if first['type'] in _QUOTING else first['msg']}"
