"""Load TOML files that describe datasets and recipes: built-in files by name, others by path.

Files that cannot be read, or do not fit the model, are rejected with a one-line error that names the field.
"""

import codecs
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ValidationError, ValidationInfo

from tasks.base import Frozen
from tasks.config.text_pattern import TextPattern
from tasks.errors import InputError
from tasks.filesystem.regular_files import MAX_TEXT, expand_user, read_regular
from tasks.safety.plain_text import printable
from tasks.safety.redaction import redact

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32 LE starts like UTF-16 LE

BUILTIN = Path(__file__).parent / "builtin"
# Names of built-in files in earlier versions, which are still accepted.
_EARLIER_NAMES = {"averaged": "ema", "dropped": "dropout", "widened": "wide"}

# Values that `read_toml` accepts; an input form can reject all others before a run.
NameOrFile = Annotated[str, TextPattern(r"[a-z][a-z0-9_]*|.+\.toml", "must be a name or the path of a TOML file")]

# The context of a validation of input. Rules that became stricter apply only there: a record of an earlier version holds
# what that version accepted.
_INPUT = object()

_UNKNOWN = ("missing", "extra_forbidden")  # types of pydantic's errors about keys
# What a value must be, by the type of pydantic's error.
_RULES = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "greater_than_equal": "must be at least {ge:,}",
    "greater_than": "must be greater than {gt:,}",
    "less_than_equal": "must be at most {le:,}",
    "less_than": "must be less than {lt:,}",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "finite_number": "must be a finite number",
}
_MAX_FAULTS = 8  # a file of another program, named by mistake, has hundreds

TomlModel = TypeVar("TomlModel", bound=Frozen)


def read_toml(name_or_path: str, what: str, error_type: type[InputError]) -> tuple[dict[str, Any], Path]:
    """Read a built-in file or a user's file.

    Args:
        name_or_path: Name of a built-in file, or a path that ends in `.toml`.
        what: What the file describes, for messages and the folder of built-in files: "recipe" or "dataset".
        error_type: Type of the error to raise.

    Returns:
        The values and the path of the file.

    Raises:
        error_type: If the file is unknown or unreadable.
    """
    path = _toml_path(name_or_path, what, error_type)
    try:
        return tomllib.loads(text_of(read_regular(path, MAX_TEXT))), path
    except OSError as error:
        raise error_type(f"can't read the {what} {path}: {error.strerror or error}") from error
    except RecursionError as error:
        raise error_type(f"can't read the {what} {path}: its TOML is nested too deeply") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise error_type(f"the {what} {path} is not TOML: {error}") from error


def text_of(content: bytes) -> str:
    """Return the text of a TOML file without a byte order mark.

    Raises:
        ValueError: If the content is not UTF-8.
    """
    if content.startswith(_UTF_16) or b"\0" in content[:4]:  # the byte order mark may be missing
        raise ValueError("it is UTF-16 or UTF-32; save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is not UTF-8 (line {line}); save it as UTF-8") from error


def _toml_path(name_or_path: str, what: str, error_type: type[InputError]) -> Path:
    """Return the path of a file: `*.toml` is a path, any other value is the name of a built-in file."""
    folder = BUILTIN / f"{what}s"
    if name_or_path.endswith(".toml"):
        return expand_user(name_or_path, what, error_type).absolute()
    names = sorted(path.stem for path in folder.glob("*.toml"))
    name = _EARLIER_NAMES.get(name_or_path, name_or_path)
    if name not in names:
        meant = _closest(name, names)
        raise error_type(
            f"unknown {what} {name_or_path!r}: {meant}give {', '.join(names)}, or the path of a .toml file"
        )
    return folder / f"{name}.toml"


def _closest(name: str, names: Collection[str]) -> str:
    """Return a question for the name that a user probably meant, or an empty string if none is similar."""
    return "".join(f"did you mean {one}? Otherwise, " for one in get_close_matches(name, names, n=1))


def validate(
    values: object,
    model: type[TomlModel],
    what: str,
    error_type: type[InputError],
    *,
    names: Mapping[str, str] | None = None,
    is_complete: bool = True,
) -> TomlModel:
    """Return `values` as a valid `model`, or report each invalid value in one line.

    `what` starts each line. `names` are the names of fields for the user, such as options. With `is_complete` false,
    missing values are not reported.

    A line repeats only the value of a known key, and no array or table: the file may be another program's, named by
    mistake or by somebody who can't read it, and hold its secrets.

    Raises:
        error_type: If a value is missing, unknown or out of range.
    """
    try:
        return model.model_validate(values, context=_INPUT)
    except ValidationError as error:
        faults = _faults_by_place(error, model)
        lines = [
            f"{what}{': ' if what else ''}{_sentence((names or {}).get(place, place), fault, meant)}"
            for place, (fault, meant) in faults.items()
            if is_complete or fault["type"] != "missing"
        ]
        if more := lines[_MAX_FAULTS:]:
            lines[_MAX_FAULTS - 1 :] = [f"{lines[_MAX_FAULTS - 1]} (and {len(more)} more)"]
        raise error_type(*lines) from error


def _faults_by_place(error: ValidationError, model: type[Frozen]) -> dict[str, tuple["ErrorDetails", str]]:
    """Return the fault of each invalid value by its place, and the key that was probably meant by an unknown key.

    A misspelled key is one fault, although the key that was meant is missing. A list whose items are invalid is not
    reported as too short.
    """
    found: dict[str, Any] = {}
    for one in error.errors(include_url=False):
        found.setdefault(_place(one), one)  # a value of a union has a fault for each type
    faults = {}
    for place, one in found.items():
        if one["type"] != "too_short" or not any(other.startswith(f"{place}.") for other in found):
            faults[place] = one, ""
    for place in [place for place, (one, _) in faults.items() if one["type"] == "extra_forbidden"]:
        parent, dot, key = place.rpartition(".")
        missing = [name for name, (one, _) in faults.items() if one["type"] == "missing"]
        siblings = [name[len(parent) + len(dot) :] for name in missing if name.rpartition(".")[0] == parent]
        meant = next(iter(get_close_matches(key, siblings or ([] if parent else [*model.model_fields]), n=1)), "")
        faults[place] = faults[place][0], meant
        if meant in siblings:
            del faults[f"{parent}{dot}{meant}"]
    return faults


def _place(error: "ErrorDetails") -> str:
    """Return the place of an invalid value, without the types of a union."""
    return ".".join(str(part) for part in error["loc"] if "[" not in str(part))


def _sentence(place: str, error: "ErrorDetails", meant: str) -> str:
    """Return what is wrong with a value, such as "epochs must be at least 1, got 0"."""
    rule = error["msg"].removeprefix("Value error, ")
    if known := _RULES.get(error["type"]):
        rule = known.format(**error.get("ctx", {}))
    separator = "" if not place else " " if known or rule.startswith("must ") else ": "
    shown = error["type"] not in _UNKNOWN and isinstance(error["input"], str | int | float)
    got = f", got {shorten_value(error['input'])}" if shown else ""
    return printable(f"{place}{separator}{rule}{got}{f': did you mean {meant}?' if meant else ''}")


def is_input(info: ValidationInfo) -> bool:
    """Return whether the validated values are input, and not the content of a record."""
    return info.context is _INPUT


def shorten_value(value: object) -> str:
    """Return a value as one short line, without secrets."""
    text = redact(repr(value))  # redacted first, since truncation may leave part of an address
    return text if len(text) <= 60 else f"{text[:57]}..."
