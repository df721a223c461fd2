"""Cache: the record of the same inputs, code and library versions, if it is there and sound; else why not.

In: a step's function and its inputs. Out: the kept record; or a Miss, and what differs from the most similar record of the
same step. A record is a sealed file; it counts only while every file that it names is there and unaltered.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from tasks.engine.code_digest import code_digests
from tasks.errors import ChecksumError
from tasks.safety.environment import number_settings
from tasks.schemas.records import Record
from tasks.storage.backend import Root, newest, read_whole
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum
from tasks.storage.content_files import atomic_write, verify_file
from tasks.storage.folders import Folder, key_name

_MOST_DIFFERENCES = 3  # differences that a Miss names
_LATEST = 50  # records of the same step that are looked at for one to compare with

Kept = TypeVar("Kept", bound=Record)


class CacheMiss(NamedTuple):
    """What is wrong with a key's record, in words; empty if there is none, and `explain_miss` says why."""

    fault: str = ""


class Key(NamedTuple):
    """All that a result depends on, in JSON's types, and the name of its file."""

    parts: dict[str, Any]
    name: str

    def path(self, root: Root) -> Root:
        """Where the record is kept."""
        return root / Folder.RECORDS / f"{self.name}.json"


def key_of(function: Callable[..., Any], inputs: Mapping[str, Any], libraries: tuple[str, ...]) -> Key:
    """The key of a step: its inputs, the code that it depends on by module, the versions of libraries, and what the environment
    says of how these compute.
    """
    parts: dict[str, Any] = {
        "step": function.__name__,
        "inputs": {name: identity(value) for name, value in _with_fields(inputs)},
        "code": code_digests(function.__module__),
        "libraries": versions(libraries),
    }
    if variables := number_settings(libraries):  # else as before there were any
        parts["surroundings"] = variables
    return Key(parts, key_name(parts))


def _with_fields(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The inputs of a step; each field of a dataclass is an input of its own."""
    for name, value in inputs.items():
        if is_dataclass(value):
            yield from ((field.name, getattr(value, field.name)) for field in fields(value))
        else:
            yield name, value


def identity(value: Any) -> Any:
    """What of a value counts: a record's files stand for the record, since they are named by their content."""
    if isinstance(value, Record):
        files = [file.model_dump() for file in value.files()]
        return files or value.model_dump(mode="json", exclude={"origin", "omitted"})
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: identity(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    return value


@functools.cache
def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """The installed version of each distribution; `tensorflow` also goes by the name of its CPU wheel."""
    found = {}
    for library in libraries:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = metadata.version(f"{library}-cpu")
    return found


def look_up_record(key: Key, record_type: type[Kept], root: Root) -> Kept | CacheMiss:
    """The kept record of a key, if it is sound."""
    try:
        envelope = load_with_checksum(read_whole(key.path(root)))
        record = record_type.model_validate(envelope["record"])
    except FileNotFoundError:
        return CacheMiss()
    except OSError as error:
        return CacheMiss(f"its record can't be read: {error.strerror or error}")
    except (ChecksumError, KeyError, TypeError, ValidationError):
        return CacheMiss("its record was altered, or is another version's")
    if envelope.get("key") != key.parts:
        return CacheMiss("its record is of another key")
    fault = next((found for file in record.files() if (found := verify_file(root, file))), None)
    return CacheMiss(fault) if fault else record


def keep_record(key: Key, record: Record, root: Root) -> None:
    """Keep a record.

    Raises:
        StorageError: it can't be written.
    """
    with atomic_write(key.path(root)) as stream:
        stream.write(dump_with_checksum({"key": key.parts, "record": record.model_dump(mode="json")}))


def explain_miss(key: Key, step: str, root: Root) -> str:
    """What differs from the most similar of the last records of the same step; of equally similar ones, from the latest.

    `step` is what a run of the step is called.
    """
    candidates = [
        (-at.timestamp(), list(_key_differences(parts, key.parts))) for at, parts in _earlier_keys(key, step, root)
    ]
    if not candidates:
        return "for the first time"
    _, found = min(candidates, key=lambda candidate: (len(candidate[1]), candidate[0]))
    return "; ".join(found[:_MOST_DIFFERENCES]) + (
        f"; and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
    )


def _earlier_keys(key: Key, step: str, root: Root) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """When the last records of the same step were made, and their keys."""
    for path in newest(root / Folder.RECORDS, f"{key.parts['step']}-*.json", _LATEST):
        try:
            envelope = load_with_checksum(read_whole(path))
            origin = envelope["record"]["origin"]
            if origin["step"] == step:
                yield datetime.fromisoformat(origin["at"]), envelope["key"]
        except (OSError, ChecksumError, KeyError, TypeError, ValueError):
            continue


def _key_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The parts of a key that differ, in words."""
    kinds = (("inputs", "input"), ("code", "code"), ("libraries", "library"), ("surroundings", "variable"))
    for kind, one in kinds:
        old, new = _flatten_key(before.get(kind, {})), _flatten_key(now.get(kind, {}))
        changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
        files = [name for name in changed if isinstance(new.get(name, old.get(name)), PurePosixPath)]
        if files:
            yield f"other files: {', '.join(dict.fromkeys(name.split('.')[0] for name in files))}"
        if kind == "code" and changed:
            yield f"code: {', '.join(changed)}"
        else:
            others = [name for name in changed if name not in files]
            yield from (f"{one} {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in others)


def _flatten_key(value: Any, name: str = "") -> dict[str, Any]:
    """A tree as its leaves by their dotted names; a file counts by its path, which holds its hash."""
    if isinstance(value, Mapping) and {"path", "sha256"} <= value.keys():
        return {name: PurePosixPath(value["path"])}
    if isinstance(value, Mapping):
        items: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value)) if len(value) > 1 else iter([("", item) for item in value])
    else:
        return {name: value}
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= _flatten_key(item, ".".join(part for part in (name, str(key)) if part))
    return leaves
