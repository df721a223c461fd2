"""Cache the records of steps by their inputs, code and library versions.

A lookup returns the stored record, or a CacheMiss. `explain_miss` reports how the key differs from the most similar
earlier key of the same step. A record is a file with a checksum. It is valid only while every file that it names
exists unaltered.
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
from tasks.storage.backend import Root
from tasks.storage.checksummed_json import dump_with_checksum, load_with_checksum
from tasks.storage.folders import Folder, key_name
from tasks.storage.storage import storage_of

_MAX_DIFFERENCES = 3  # differences that an explanation lists
_LATEST = 50  # recent records of the same step to compare with

Kept = TypeVar("Kept", bound=Record)


class CacheMiss(NamedTuple):
    """The reason why a key's record is invalid; empty if there is no record (see `explain_miss`)."""

    fault: str = ""


class Key(NamedTuple):
    """All values that a result depends on, in JSON types, and the name of the record's file."""

    parts: dict[str, Any]
    name: str

    def path(self, root: Root) -> Root:
        """Return the path of the record under a root."""
        return root / self.file

    @property
    def file(self) -> str:
        """The path of the record relative to the root."""
        return f"{Folder.RECORDS}/{self.name}.json"


def key_of(function: Callable[..., Any], inputs: Mapping[str, Any], libraries: tuple[str, ...]) -> Key:
    """Return the cache key of a step.

    The key holds the inputs, the digests of all modules that the step depends on, the versions of the libraries, and
    the environment variables that may change their results.
    """
    parts: dict[str, Any] = {
        "step": function.__name__,
        "inputs": {name: identity(value) for name, value in _with_fields(inputs)},
        "code": code_digests(function.__module__),
        "libraries": versions(libraries),
    }
    if variables := number_settings(libraries):  # omitted if empty, so that keys of earlier versions stay valid
        parts["environment"] = variables
    return Key(parts, key_name(parts))


def _with_fields(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the inputs of a step by name; each field of a dataclass is an input of its own."""
    for name, value in inputs.items():
        if is_dataclass(value):
            yield from ((field.name, getattr(value, field.name)) for field in fields(value))
        else:
            yield name, value


def identity(value: Any) -> Any:
    """Return the part of a value that identifies it in a key.

    A record is identified by its files if it has any, because these are named by their content.
    """
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
    """Return the installed version of each distribution.

    If a distribution is missing, its CPU wheel is looked up: `tensorflow-cpu` for `tensorflow`.

    Raises:
        importlib.metadata.PackageNotFoundError: If neither is installed.
    """
    found = {}
    for library in libraries:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = metadata.version(f"{library}-cpu")
    return found


def look_up_record(key: Key, record_type: type[Kept], root: Root) -> Kept | CacheMiss:
    """Return the stored record of a key if it is valid, else a CacheMiss with the reason."""
    try:
        envelope = load_with_checksum(storage_of(key.path(root)).read_whole())
        record = record_type.model_validate(envelope["record"])
    except FileNotFoundError:
        return CacheMiss()
    except OSError as error:
        return CacheMiss(f"its record can't be read: {error.strerror or error}")
    except (ChecksumError, KeyError, TypeError, ValidationError):
        return CacheMiss("its record was altered, or another version wrote it")
    if envelope.get("key") != key.parts:
        return CacheMiss("its record belongs to another key")
    fault = next((found for file in record.files() if (found := storage_of(root).verify(file))), None)
    return CacheMiss(fault) if fault else record


def keep_record(key: Key, record: Record, root: Root) -> None:
    """Write a record with its key to the cache.

    Raises:
        StorageError: If the record cannot be written.
    """
    with storage_of(root).atomic_write(key.file) as stream:
        stream.write(dump_with_checksum({"key": key.parts, "record": record.model_dump(mode="json")}))


def explain_miss(key: Key, step: str, root: Root) -> str:
    """Return the differences from the most similar recent key of the same step; of equally similar keys, the latest.

    `step` is the name of the step's run, as the origin of a record holds it.
    """
    candidates = [
        (-at.timestamp(), list(_key_differences(parts, key.parts))) for at, parts in _earlier_keys(key, step, root)
    ]
    if not candidates:
        return "for the first time"
    _, found = min(candidates, key=lambda candidate: (len(candidate[1]), candidate[0]))
    return "; ".join(found[:_MAX_DIFFERENCES]) + (
        f"; and {len(found) - _MAX_DIFFERENCES} more" if len(found) > _MAX_DIFFERENCES else ""
    )


def _earlier_keys(key: Key, step: str, root: Root) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Yield the time and the key of each recent record of the same step."""
    for path in storage_of(root / Folder.RECORDS).newest(f"{key.parts['step']}-*.json", _LATEST):
        try:
            envelope = load_with_checksum(storage_of(path).read_whole())
            origin = envelope["record"]["origin"]
            if origin["step"] == step:
                yield datetime.fromisoformat(origin["at"]), envelope["key"]
        except (OSError, ChecksumError, KeyError, TypeError, ValueError):
            continue


def _key_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a description of each difference between two keys."""
    kinds = (("inputs", "input"), ("code", "code"), ("libraries", "library"), ("environment", "variable"))
    for kind, one in kinds:
        old, new = _flatten_key(before.get(kind, {})), _flatten_key(now.get(kind, {}))
        changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
        files = [name for name in changed if isinstance(new.get(name, old.get(name)), PurePosixPath)]
        if files:
            yield f"changed files: {', '.join(dict.fromkeys(name.split('.')[0] for name in files))}"
        if kind == "code" and changed:
            yield f"code: {', '.join(changed)}"
        else:
            others = [name for name in changed if name not in files]
            yield from (f"{one} {name}: {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in others)


def _flatten_key(value: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by their dotted names; a file is represented by its path, which contains its hash."""
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
