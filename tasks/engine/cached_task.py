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
from typing import Any, ParamSpec, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed

from tasks.engine.cache import CacheMiss, Kept, Key, explain_miss, keep_record, key_of, look_up_record
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.errors import MnistError, StorageError, WorkerError, first_line
from tasks.schemas.records import Origin, PartialRecord
from tasks.storage.backend import Root, io_errors
from tasks.storage.folders import Folder
from tasks.storage.locks import key_lock, shared_lock

# A step that takes longer hangs: on six million images none but a training takes an hour.
STEP_SECONDS = 4 * 3600.0

Params = ParamSpec("Params")


class CachedTask(Task[Params, Kept]):
    """A Prefect task that keeps its record, and looks for the record of the same inputs before it computes anything.

    It takes its Workspace as the argument `work`. Prefect itself tries it once, unless `options` say otherwise: from the same
    inputs it would compute the same again.
    """

    def __init__(
        self, compute: Callable[Params, Kept], libraries: tuple[str, ...], unkeyed: tuple[str, ...], **options: Any
    ) -> None:
        self.compute, self.libraries, self.unkeyed, self.options = compute, libraries, unkeyed, options
        self.record_type: type[Kept] = typing.get_type_hints(compute)["return"]
        self.run_name: str = options["task_run_name"]

        @functools.wraps(compute)
        def cached(*args: Params.args, **kwargs: Params.kwargs) -> Kept:
            return self.found_or_made(inspect.signature(compute).bind(*args, **kwargs))

        once: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "timeout_seconds": STEP_SECONDS}
        super().__init__(cached, **once | options)

    def with_options(self, **options: Any) -> "CachedTask[Params, Kept]":
        """The same task with other options of Prefect's, which would return a task that keeps nothing."""
        task = CachedTask(self.compute, self.libraries, self.unkeyed, **self.options | options)
        task.run_name = self.run_name
        return task

    def lookup(self, arguments: Mapping[str, Any]) -> Kept | CacheMiss:
        """The record of these arguments, if it is kept."""
        return self.keyed_lookup(arguments)[1]

    def keyed_lookup(self, arguments: Mapping[str, Any]) -> tuple[Key, Kept | CacheMiss]:
        """The key of these arguments, and its record, if it is kept."""
        inputs = {name: value for name, value in arguments.items() if name not in {"work", *self.unkeyed}}
        key = key_of(self.compute, inputs, self.libraries)
        return key, look_up_record(key, self.record_type, arguments["work"].root)

    def found_or_made(self, given: inspect.BoundArguments) -> Kept:
        """The record of these arguments. Two runs that need it at once make it once."""
        work: Workspace = given.arguments["work"]
        key, found = self.keyed_lookup(given.arguments)
        if not isinstance(found, CacheMiss):
            return _as_cached_state(found)
        with shared_lock(work.root, log), key_lock(work.root, key.name, f"run {work.run}", log):
            found = look_up_record(key, self.record_type, work.root)  # another run may have made it in the meantime
            if not isinstance(found, CacheMiss):
                return _as_cached_state(found)
            name = self.run_name.format(**given.arguments)
            why = found.fault or _reason_for_computing(key, name, work.root)
            given.arguments["work"] = work = work.model_copy(update={"key": key.name})
            return _compute_and_store(lambda: self.compute(*given.args, **given.kwargs), name, why, key, work)

    def ever_kept(self, root: Root) -> bool:
        """Whether the task has ever kept a record under a root."""
        return any((root / Folder.RECORDS).glob(f"{self.compute.__name__}-*.json"))


def step(
    name: str, *, libraries: tuple[str, ...] = (), unkeyed: tuple[str, ...] = (), **options: Any
) -> Callable[[Callable[Params, Kept]], CachedTask[Params, Kept]]:
    """Make a function a cached Prefect task.

    Args:
        name: how a run of it is called, with arguments in braces.
        libraries: the distributions whose versions shape the result.
        unkeyed: arguments that don't, such as the mirrors of an archive whose hash is given.
        options: Prefect's own.
    """

    def decorate(compute: Callable[Params, Kept]) -> CachedTask[Params, Kept]:
        return CachedTask(compute, libraries, unkeyed, task_run_name=name, **options)

    return decorate


def _reason_for_computing(key: Key, name: str, root: Root) -> str:
    """Why a step has no record; what earlier records hold, perhaps another version's, can't stop it."""
    with optional(f"why {name} is computed", []):
        return explain_miss(key, name, root)
    return "no earlier record can be compared"


def _as_cached_state(record: Kept) -> Kept:
    """The record; inside a task run, as a state that shows as Cached and says which run made it."""
    if TaskRunContext.get() is None or record.origin is None:
        return record
    return cast("Kept", Completed(name="Cached", message=f"made by run {record.origin.run}", data=record))


def _compute_and_store(compute: Callable[[], Kept], name: str, why: str, key: Key, work: Workspace) -> Kept:
    """Compute a record, say where it came from, and keep it, unless an optional part of it is missing.

    Raises:
        StorageError: the system refused to read or write a file.
        WorkerError: memory is short, or TensorFlow refused an operation.
    """
    log(f"{name}: computed, {why}")
    began = perf_counter()
    try:
        record = compute()
    except MnistError:
        raise
    except io_errors() as error:
        where = getattr(error, "filename", None) or work.root
        raise StorageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
    except Exception as error:
        if said := _failure_of_tensorflow(error):
            raise WorkerError(f"{name}: {said}") from error
        raise
    seconds = round(perf_counter() - began, 3)
    record = record.model_copy(
        update={
            "origin": Origin(
                step=name,
                kind=key.parts["step"],
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


def _failure_of_tensorflow(error: Exception) -> str:
    """Say in one line what memory or an operation lacks, and what to change; empty for any other error."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if isinstance(error, MemoryError) or (errors and isinstance(error, errors.ResourceExhaustedError)):
        return f"not enough memory: {first_line(error)}; make the layers or the batch of the recipe smaller"
    if errors and isinstance(error, errors.OpError):
        return f"TensorFlow refused an operation: {first_line(error)}; change the recipe's layers or function"
    return ""
