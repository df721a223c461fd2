"""Steps: Prefect tasks whose records are kept, so that nothing is computed twice.

In: a function from records and settings to a record. Out: a Prefect task that looks for the record of the same inputs,
code and library versions first. A kept record counts only while every file it names is there and unaltered.

Prefect's own cache is left aside: its hits are not checked against the files, its key sees only the task's own text, and
its results need a storage block on the server.
"""

import functools
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed
from pydantic import BaseModel, ValidationError

from tasks.code import code_digest
from tasks.errors import MnistError, StorageError
from tasks.files import fault_of, written_whole
from tasks.records import Origin, Record
from tasks.workspace import Workspace

# A step that takes longer hangs: on six million images none but a training takes an hour.
STEP_SECONDS = 4 * 3600.0

Params = ParamSpec("Params")
Kept = TypeVar("Kept", bound=Record)


def step(
    name: str, *, libraries: tuple[str, ...] = (), unkeyed: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[Params, Kept]], Task[Params, Kept]]:
    """Make a function a cached Prefect task. It takes its Workspace as the argument `work`.

    Args:
        name: how a run of it is called, with arguments in braces.
        libraries: the distributions whose versions shape the result.
        unkeyed: arguments that don't, such as the mirrors of an archive whose hash is given.
        options: Prefect's own.
    """

    def decorate(function: Callable[Params, Kept]) -> Task[Params, Kept]:
        signature = inspect.signature(function)
        record_type: type[Kept] = typing.get_type_hints(function)["return"]

        @functools.wraps(function)
        def cached(*args: Params.args, **kwargs: Params.kwargs) -> Kept:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            work: Workspace = given.arguments["work"]
            inputs = {name: value for name, value in given.arguments.items() if name not in {"work", *unkeyed}}
            parts = key_parts(function, inputs, libraries)
            path = work.root / "records" / f"{function.__name__}-{digest_of(parts)[:16]}.json"
            found = kept(path, record_type, parts, work.root)
            if found:
                return found_again(found)
            return made(lambda: function(*args, **kwargs), name.format(**given.arguments), path, parts, work)

        # No retries, unless a step asks for them: from the same inputs it would compute the same again.
        prefect_options: dict[str, Any] = {
            "cache_policy": NO_CACHE,
            "persist_result": False,
            "timeout_seconds": STEP_SECONDS,
            **options,
        }
        return task(task_run_name=name, **prefect_options)(cached)

    return decorate


def key_parts(function: Callable[..., Any], inputs: Mapping[str, Any], libraries: tuple[str, ...]) -> dict[str, Any]:
    """All that a result depends on, in JSON's types."""
    return {
        "step": function.__name__,
        "inputs": {name: identity(value) for name, value in inputs.items()},
        "code": code_digest(function.__module__),
        "libraries": versions(libraries),
    }


def identity(value: Any) -> Any:
    """What of a value counts: a record's files stand for the record, since they are named by their content."""
    if isinstance(value, Record):
        files = [file.model_dump() for file in value.files()]
        return files or value.model_dump(mode="json", exclude={"origin"})
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [identity(item) for item in value]
    return value


def digest_of(parts: Mapping[str, Any]) -> str:
    """The SHA-256 of a key's parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


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


def kept(path: Path, record_type: type[Kept], parts: Mapping[str, Any], root: Path) -> Kept | None:
    """The record at `path`, if it is one, is of these parts, and all its files are sound."""
    try:
        envelope = json.loads(path.read_bytes())
        if envelope["key"] != parts:
            return None
        record = record_type.model_validate_json(json.dumps(envelope["record"]))
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return None if any(fault_of(root, file) for file in record.files()) else record


def found_again(record: Kept) -> Kept:
    """The record; inside a task run, as a state that shows as Cached and says which run made it."""
    if TaskRunContext.get() is None or record.origin is None:
        return record
    return cast("Kept", Completed(name="Cached", message=f"made by run {record.origin.run}", data=record))


def made(compute: Callable[[], Kept], name: str, path: Path, parts: Mapping[str, Any], work: Workspace) -> Kept:
    """Compute a record, say where it came from, and keep it.

    Raises:
        StorageError: the system refused to read or write a file.
    """
    began = perf_counter()
    try:
        record = compute()
    except MnistError:
        raise
    except OSError as error:
        raise StorageError(f"{error.filename or work.root}: {error.strerror or error}") from error
    origin = Origin(step=name, run=work.run, at=datetime.now(UTC), seconds=round(perf_counter() - began, 3))
    record = record.model_copy(update={"origin": origin})
    envelope = {"key": parts, "record": record.model_dump(mode="json")}
    with written_whole(path) as stream:
        stream.write(json.dumps(envelope, indent=1).encode())
    return record
