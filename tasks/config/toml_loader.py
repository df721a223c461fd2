"""TOML files that describe data sets and recipes: built-in ones by name, others by path.

In: a name or a path, and the frozen model that it must fill. Out: the value, and the path that it was read from.
Refuses: whatever can't be read or does not fill the model, in one line that names the field.
"""

import codecs
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from tasks.base import Frozen
from tasks.errors import InputError
from tasks.filesystem.regular_files import MOST_TEXT, expand_user, read_regular
from tasks.safety.redaction import redact

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # which of UTF-32 begins as the first

BUILTIN = Path(__file__).parent / "builtin"

# What `read_toml` takes: a form can refuse anything else before a run.
NameOrFile = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]*|.+\.toml)$")]

TomlModel = TypeVar("TomlModel", bound=Frozen)


def read_toml(name_or_path: str, what: str, refusal: type[InputError]) -> tuple[dict[str, Any], Path]:
    """Read a built-in file or the user's own: its values, and where it stands.

    Raises:
        refusal: it is unknown, or unreadable.
    """
    path = _toml_path(name_or_path, what, refusal)
    try:
        return tomllib.loads(text_of(read_regular(path, MOST_TEXT))), path
    except OSError as error:
        raise refusal(f"can't read the {what} {path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise refusal(f"the {what} {path} is not TOML that anyone would write: it is nested too deeply") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise refusal(f"the {what} {path} is not TOML: {error}") from error


def text_of(content: bytes) -> str:
    """The text of a TOML file, without the mark that some editors write before UTF-8.

    Raises:
        ValueError: it is not UTF-8.
    """
    if content.startswith(_UTF_16) or b"\0" in content[:4]:  # the mark may be missing
        raise ValueError("it is UTF-16 or UTF-32; save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is not UTF-8 (line {line}); save it as UTF-8") from error


def _toml_path(name_or_path: str, what: str, refusal: type[InputError]) -> Path:
    """Where a file stands: `*.toml` is a path, anything else the name of a built-in one.

    Raises:
        refusal: there is no built-in one of that name, or the `~` of a path is nobody's.
    """
    folder = BUILTIN / f"{what.replace(' ', '')}s"
    if name_or_path.endswith(".toml"):
        return expand_user(name_or_path, what, refusal).absolute()
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if name_or_path not in names:
        raise refusal(f"unknown {what} {name_or_path!r}: give {', '.join(names)}, or the path of a .toml file")
    return folder / f"{name_or_path}.toml"


def validate(values: object, model: type[TomlModel], what: str, refusal: type[InputError]) -> TomlModel:
    """Fill `model` with `values`, or say in one line what is wrong with the first that does not fit.

    Raises:
        refusal: a value is missing, unknown or out of range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        found = "" if first["type"] == "missing" else f", not {shorten_value(first['input'])}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise refusal(f"{what}: {where}: {first['msg'].removeprefix('Value error, ')}{found}{more}") from error


def shorten_value(value: object) -> str:
    """A value as one short line."""
    text = redact(repr(value))  # before it is cut, which may leave half an address
    return text if len(text) <= 60 else f"{text[:57]}..."
