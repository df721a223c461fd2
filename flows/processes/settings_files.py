"""Settings files: what libraries read unasked from the current folder and from Prefect's home, unless it can be another's work.

Prefect takes settings from `.env`, `prefect.toml` and `pyproject.toml` in the current folder, whoever owns them, and a setting
can name code, a server or a credential. In a folder such as /tmp, any account could thus run code as this user. So the files
are checked when Prefect is first imported, before it reads them; where others can add files later, at each opening, too.

Whatever Prefect can't use of them, or of its variables, is one line that holds no value, which may be a secret.

Imported with the package, before anything else: little of the standard library.
"""
# ruff: noqa: PLC0415  # a command that does not import Prefect has no use for it

import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from tasks.errors import SettingsError

_PREFECT = "prefect"
_PROJECTS = "pyproject.toml"
HERE = (".env", "prefect.toml", _PROJECTS)
_HOME = "PREFECT_HOME"
IN_HOME = ("profiles.toml", "logging.yml")
NAMED = ("PREFECT_PROFILES_PATH", "PREFECT_LOGGING_CONFIG_PATH", "PREFECT_LOGGING_SETTINGS_PATH")

# What reads all settings, by its module.
_READERS = {
    "prefect.settings.models.root": ("Settings", "__init__"),
    "prefect.settings.profiles": ("load_profiles",),
    "prefect.logging.configuration": ("setup_logging",),
}
_QUOTING = {"value_error", "assertion_error"}  # messages of Prefect's own checks, which may hold the value

WATCHED: set[str] = set()  # files that are checked at each opening, as the libraries spell them


class Importing:
    """A finder that is asked for each module before it is imported, and finds those of Prefect's that read settings."""

    @staticmethod
    def find_spec(name: str, path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """Check the files that Prefect is about to read, and have it say in one line what it can't use.

        Raises:
            SettingsError: another account can have written one of them.
        """
        if name == _PREFECT:
            refuse_foreign_settings()
        if name not in _READERS or not (spec := PathFinder.find_spec(name, path)) or not spec.loader:
            return None
        spec.loader.exec_module = _with_refusals(spec.loader.exec_module, *_READERS[name])  # type: ignore[method-assign, assignment]
        return spec


def watch_imports() -> None:
    """Check the files if Prefect is imported from now on."""
    if os.name == "posix":  # elsewhere, files have no owner that Python tells
        sys.meta_path.insert(0, Importing)


def refuse_foreign_settings() -> None:
    """Refuse what would be read unasked, if another account can have written it, now or later.

    Raises:
        SettingsError: a file, its folder or Prefect's home belongs to another account, or can be written by others.
    """
    from tasks.filesystem.trusted_files import is_open

    paths = [*settings_files()]
    for path in paths:
        if os.path.lexists(path):
            _refuse(path)
    shared = {str(path) for path in paths if is_open(path.parent)}
    if shared and not WATCHED:  # the hook costs some 0.2 us an event: 50 ms, if TensorFlow is imported
        sys.addaudithook(_check_opened_file)
    WATCHED.update(shared)


def _check_opened_file(event: str, arguments: tuple[Any, ...]) -> None:
    """Check a file once more when it is opened to be read: it is there, since the libraries look before.

    Raises:
        SettingsError: another account can have written it.
    """
    if event == "open" and isinstance(arguments[0], str) and arguments[0] in WATCHED:
        from pathlib import Path

        name, _, flags = arguments
        if not flags & os.O_CREAT:
            _refuse(Path(name))


def settings_files() -> "Iterator[Path]":
    """The files, which need not exist, and Prefect's home."""
    from pathlib import Path

    yield from map(Path, HERE)
    home = _prefect_home()
    yield home
    for folder in dict.fromkeys((home, Path(os.environ.get(_HOME) or home))):  # Prefect also takes a `~` literally
        yield from (folder / name for name in IN_HOME)
    for name in NAMED:
        if value := os.environ.get(name):
            yield Path(value.replace(f"${_HOME}", str(home)))


def _prefect_home() -> "Path":
    """The folder of Prefect's profiles, history and results, as the environment has it."""
    from pathlib import Path

    return Path(os.path.expanduser(os.environ.get(_HOME) or "~/.prefect"))  # noqa: PTH111  # which raises without a home


def writable_home() -> None:
    """Make Prefect's home, where a server of our own keeps its history.

    Raises:
        SettingsError: the account has no home, or it can't be made or written.
    """
    from tasks.errors import SettingsError

    home, remedy = _prefect_home(), f"set {_HOME} to a folder that can be written"
    if str(home).startswith("~"):
        raise SettingsError(f"this account has no home directory, where Prefect keeps its history: {remedy}")
    try:
        home.mkdir(mode=0o700, parents=bool(os.environ.get(_HOME)), exist_ok=True)
    except OSError as error:
        raise SettingsError(f"can't make Prefect's home {home}: {error.strerror or error}; {remedy}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise SettingsError(f"can't write to Prefect's home {home}; {remedy}")


def _refuse(path: "Path") -> None:
    """Refuse a file or a folder of settings that another account can have written or can replace.

    Raises:
        SettingsError: it, its folder, or what it links to belongs to another account, or can be written by others.
    """
    from tasks.errors import SettingsError
    from tasks.filesystem.trusted_files import trust_fault

    if _is_projects(path):
        return
    given, real = path.absolute(), path.resolve()
    # Nothing above matters: who puts another folder in the place of this one owns the files in it.
    beside = () if path == _prefect_home() else (given.parent, real.parent)
    for one in dict.fromkeys((given, real, *beside)):
        if fault := trust_fault(one):
            of = "it" if one == given else given
            elsewhere = "call this in another folder" if path.name == str(path) else f"set another {_HOME} or path"
            raise SettingsError(
                f"{one} {fault}, and settings would be read from {of}, which can name code: "
                f"remove it, change its owner or mode, or {elsewhere}"
            )


def _is_projects(path: "Path") -> bool:
    """Whether a file is the project's own `pyproject.toml`: who can write there can write this code."""
    from pathlib import Path

    return path.name == _PROJECTS and path.parent.samefile(Path(__file__).parents[2])


def _with_refusals(execute: "Callable[[ModuleType], None]", *names: str) -> "Callable[[ModuleType], None]":
    """Execute a module so that one of its functions, or a class's, raises a SettingsError for settings that it can't use."""

    def executed(module: "ModuleType") -> None:
        execute(module)
        owner: Any = module
        for name in names[:-1]:
            owner = getattr(owner, name)
        setattr(owner, names[-1], _refusing(getattr(owner, names[-1])))

    return executed


def _refusing(read: "Callable[..., Any]") -> "Callable[..., Any]":
    """Return a function that reads settings as another does, and names what can't be used."""
    from functools import wraps

    @wraps(read)
    def called(*args: Any, **kwargs: Any) -> Any:
        from tasks.errors import MnistError

        try:
            return read(*args, **kwargs)
        except (MnistError, ImportError, OSError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever a parser or a check raises
            line = _what_is_wrong(error)
        raise _refusal(line)  # not while the other is handled: its text holds the value

    return called


def _refusal(line: str) -> "SettingsError":
    """What is said of settings that Prefect can't use; of other errors, it prints the text while it is imported."""
    from pydantic_settings.exceptions import SettingsError as PrefectsError

    from tasks.errors import SettingsError

    class UnusableError(SettingsError, PrefectsError):
        """Settings that Prefect can't use."""

    return UnusableError(
        f"Prefect can't use its settings: {line}; correct the variable, or the file that sets it: "
        f"{', '.join(HERE)} in the current folder, {' or '.join(IN_HOME)} in Prefect's home"
    )


def _what_is_wrong(error: Exception) -> str:
    """Say what is wrong with settings; of messages, only those that hold no value."""
    from pydantic import ValidationError

    from tasks.errors import first_line

    if not isinstance(error, ValidationError):
        return first_line(error) if isinstance(error, ValueError) else type(error).__name__
    from prefect.settings.base import PrefectBaseSettings

    prefixes = {one.__name__: one.model_config.get("env_prefix") for one in PrefectBaseSettings.__subclasses__()}
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    name = ".".join(str(one) for one in first["loc"]).upper() or "its settings together"
    return f"{prefixes.get(error.title) or ''}{name}: {'not valid' if first['type'] in _QUOTING else first['msg']}"
