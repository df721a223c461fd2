"""Steps: Prefect tasks whose records are kept, so that nothing is computed twice.

In: a function from records and settings to a record. Out: a Prefect task that looks for the record of the same inputs,
code and library versions first. Two runs that need the same record at once make it once: the second waits.

Prefect's own cache is left aside: its hits are not checked against the files, its key sees only the task's own text, and
its results need a storage block on the server.
"""

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed

from tasks.cache import Key, Miss, difference, keep_record, key_of, look_up
from tasks.errors import MnistError, StorageError, WorkerError, first_line
from tasks.folders import Folder
from tasks.locks import holding, shared
from tasks.log import say
from tasks.optional import optional
from tasks.records import Origin, PartialRecord, Record
from tasks.store import Root, refusals
from tasks.workspace import Workspace

# A step that takes longer hangs: on six million images none but a training takes an hour.
STEP_SECONDS = 4 * 3600.0

LOOK_UPS: dict[str, Callable[[Mapping[str, Any]], Record | Miss]] = {}  # by the task's key

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

        def looked_up(given: inspect.BoundArguments) -> tuple[Key, Kept | Miss]:
            inputs = {name: value for name, value in given.arguments.items() if name not in {"work", *unkeyed}}
            key = key_of(function, inputs, libraries)
            return key, look_up(key, record_type, given.arguments["work"].root)

        @functools.wraps(function)
        def cached(*args: Params.args, **kwargs: Params.kwargs) -> Kept:
            given = signature.bind(*args, **kwargs)
            work: Workspace = given.arguments["work"]
            called = name.format(**given.arguments)
            key, found = looked_up(given)
            if not isinstance(found, Miss):
                return found_again(found)
            with shared(work.root, say), holding(work.root, key.name, f"run {work.run}", say):
                found = look_up(key, record_type, work.root)  # another run may have made it in the meantime
                if not isinstance(found, Miss):
                    return found_again(found)
                why = found.fault or compared_with_earlier(key, called, work.root)
                given.arguments["work"] = work = work.model_copy(update={"key": key.name})
                return made(lambda: function(*given.args, **given.kwargs), called, why, key, work)

        # No retries, unless a step asks for them: from the same inputs it would compute the same again.
        prefect_options: dict[str, Any] = {
            "cache_policy": NO_CACHE,
            "persist_result": False,
            "timeout_seconds": STEP_SECONDS,
            **options,
        }
        made_task = task(task_run_name=name, **prefect_options)(cached)
        LOOK_UPS[made_task.task_key] = lambda arguments: looked_up(signature.bind(**arguments))[1]
        return made_task

    return decorate


def compared_with_earlier(key: Key, name: str, root: Root) -> str:
    """Why a step has no record; what earlier records hold, perhaps another version's, can't stop it."""
    with optional(f"why {name} is computed", []):
        return difference(key, name, root)
    return "no earlier record can be compared"


def is_kept(step: Task[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Whether a step would find its record."""
    return not isinstance(LOOK_UPS[step.task_key](arguments), Miss)


def ever_kept(step: Task[..., Any], root: Root) -> bool:
    """Whether a step has ever kept a record under a root."""
    return any((root / Folder.RECORDS).glob(f"{step.fn.__name__}-*.json"))


def found_again(record: Kept) -> Kept:
    """The record; inside a task run, as a state that shows as Cached and says which run made it."""
    if TaskRunContext.get() is None or record.origin is None:
        return record
    return cast("Kept", Completed(name="Cached", message=f"made by run {record.origin.run}", data=record))


def made(compute: Callable[[], Kept], name: str, why: str, key: Key, work: Workspace) -> Kept:
    """Compute a record, say where it came from, and keep it, unless an optional part of it is missing.

    Raises:
        StorageError: the system refused to read or write a file.
        WorkerError: memory is short, or TensorFlow refused an operation.
    """
    say(f"{name}: computed, {why}")
    began = perf_counter()
    try:
        record = compute()
    except MnistError:
        raise
    except refusals() as error:
        where = getattr(error, "filename", None) or work.root
        raise StorageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
    except Exception as error:
        if said := failure_of_tensorflow(error):
            raise WorkerError(f"{name}: {said}") from error
        raise
    seconds = round(perf_counter() - began, 3)
    record = record.model_copy(
        update={
            "origin": Origin(
                step=name,
                run=work.run,
                at=datetime.now(UTC),
                seconds=seconds,
                why=why,
                surroundings=tuple(f"{name}={value}" for name, value in key.parts.get("surroundings", {}).items()),
            )
        }
    )
    if not (isinstance(record, PartialRecord) and record.omitted):
        keep_record(key, record, work.root)
    work.finish()
    return record


def failure_of_tensorflow(error: Exception) -> str:
    """Say in one line what memory or an operation lacks, and what to change; empty for any other error."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if isinstance(error, MemoryError) or (errors and isinstance(error, errors.ResourceExhaustedError)):
        return f"not enough memory: {first_line(error)}; make the layers or the batch of the recipe smaller"
    if errors and isinstance(error, errors.OpError):
        return f"TensorFlow refused an operation: {first_line(error)}; change the recipe's layers or function"
    return ""
