"""Read the user's configuration file, which can name the default root.

The file is `config.toml` in the configuration folder of the user, such as `~/.config/mnist`. It is read when a command
finds no root otherwise.
"""

import os
import tomllib
from pathlib import Path

from platformdirs import user_config_path

from tasks.errors import SettingsError
from tasks.filesystem.regular_files import MAX_TEXT, expand_user, read_regular
from tasks.filesystem.trusted_files import trust_fault

_KEY = "root"
_EXAMPLE = f'{_KEY} = "/path/of/the/root"'


def settings_file() -> Path | None:
    """Return the path of the user's configuration file, which may be missing; None without a home directory."""
    path = user_config_path("mnist", appauthor=False) / "config.toml"
    return path if path.is_absolute() else None


def configured_root() -> str | None:
    """Return the root that the user's configuration file names, or None if there is no such file or it names no root.

    Raises:
        SettingsError: If the file can't be read, another account can have written it, it is not TOML, it has unknown
            keys, or its root is neither an absolute path nor an address.
    """
    path = settings_file()
    if path is None or not os.path.lexists(path):
        return None
    for one in (path.parent, path.resolve()):
        if fault := trust_fault(one):
            raise SettingsError(f"can't trust the configuration {path}: {one} {fault}; change its owner or mode")
    try:
        values = tomllib.loads(read_regular(path, MAX_TEXT).decode("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"can't read the configuration {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise SettingsError(f"the configuration {path} is not TOML: {reason}; write {_EXAMPLE}") from error
    if unknown := sorted(values.keys() - {_KEY}):
        raise SettingsError(f"the configuration {path}: unknown key {unknown[0]}; the only key is {_KEY}")
    return _place(values[_KEY], path) if _KEY in values else None


def _place(root: object, path: Path) -> str:
    """Return a root as a path or an address that does not depend on the current folder."""
    if isinstance(root, str) and root:
        place = root if "://" in root else str(expand_user(root, f"root of the configuration {path}", SettingsError))
        if "://" in place or Path(place).is_absolute():
            return place
    raise SettingsError(
        f"the configuration {path}: {_KEY} must be an absolute path, a path that begins with ~, or s3://BUCKET/PREFIX, "
        f"such as {_EXAMPLE}"
    )
