"""Cache the records of steps by their inputs, code and library versions.

A lookup returns the stored record, or a CacheMiss (`tasks/engine/earlier_records.py` finds the reason of a miss). A
record is a file with a checksum. It is valid only while every file that it names exists unaltered.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
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

Kept = TypeVar("Kept", bound=Record)


class CacheMiss(NamedTuple):
    """The reason why a key's record is invalid; empty if there is no record in the cache."""

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


class Pending:
    """The result of a step that a dry run would compute, in place of the record of the step.

    `name` is the name that the record will have, and `causes` are the names of the steps to compute on which the content
    of the record depends.
    """

    def __init__(self, name: str, causes: tuple[str, ...]) -> None:
        self.name, self.causes = name, causes


def key_parts(function: Callable[..., Any], inputs: Mapping[str, Any], libraries: tuple[str, ...]) -> dict[str, Any]:
    """Return the parts of the cache key of a step; an input that is Pending remains in its place.

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
    return parts


def key_of(function: Callable[..., Any], inputs: Mapping[str, Any], libraries: tuple[str, ...]) -> Key:
    """Return the cache key of a step, none of whose inputs is Pending."""
    parts = key_parts(function, inputs, libraries)
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


def look_up_record(key: Key, record_type: type[Kept], root: Root, *, dry: bool = False) -> Kept | CacheMiss:
    """Return the stored record of a key if it is valid, else a CacheMiss with the reason.

    With `dry`, nothing is written: the content of a file in a store is not checked, which would download the file.
    """
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
    fault_of = storage_of(root).inspect if dry else storage_of(root).verify
    fault = next((found for file in record.files() if (found := fault_of(file))), None)
    return CacheMiss(fault) if fault else record


def keep_record(key: Key, record: Record, root: Root) -> None:
    """Write a record with its key to the cache.

    Raises:
        StorageError: If the record cannot be written.
    """
    with storage_of(root).atomic_write(key.file) as stream:
        stream.write(dump_with_checksum({"key": key.parts, "record": record.model_dump(mode="json")}))
