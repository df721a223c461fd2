"""Prefect tasks that keep their records, so that no result is computed twice.

A cached task first looks up the record of the same inputs, code and library versions. If two runs need the same
record at the same time, one computes it and the other waits.

Prefect's own cache is not used: its hits are not verified against the files, its key covers only the source of the
task itself, and its results need a storage block on the server.
"""

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.states import Completed

from tasks.engine.cache import CacheMiss, Kept, Key, keep_record, key_of, key_parts, look_up_record
from tasks.engine.earlier_records import earlier_records, explain_miss
from tasks.engine.optional_parts import optional
from tasks.engine.processor import processor
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.errors import MnistError, StorageError, WorkerError, first_line
from tasks.schemas.records import Origin, PartialRecord
from tasks.storage.backend import Root, io_errors, matching
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of

# A step that takes longer hangs: with six million images, no step but training takes an hour.
_STEP_SECONDS = 4 * 3600.0
_OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "timeout_seconds": _STEP_SECONDS}

Params = ParamSpec("Params")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Hints:
    """What a dry run needs to know of a step before the step is computed.

    `result_name` is the name of its record, with arguments in braces. `grows_with` is the input, by its dotted name, with
    which its time grows proportionally. `always_runs` is the reason why its inputs are new in every run.
    """

    result_name: str = ""
    grows_with: str = ""
    always_runs: str = ""


class CachedTask(Task[Params, Kept]):
    """A Prefect task that looks up the record of its inputs before it computes, and keeps the new record.

    The task receives its Workspace as the argument `work`. By default, Prefect does not retry it, because the same
    inputs would give the same result; `options` can change that. The other arguments are those of `step`.
    """

    def __init__(
        self,
        compute: Callable[Params, Kept],
        libraries: tuple[str, ...],
        unkeyed: tuple[str, ...],
        *,
        hints: Hints = Hints(),
        **options: Any,
    ) -> None:
        self.compute, self.libraries, self.unkeyed, self.options = compute, libraries, unkeyed, options
        self.hints = hints
        self.record_type: type[Kept] = typing.get_type_hints(compute)["return"]
        self.run_name: str = options["task_run_name"]

        @functools.wraps(compute)
        def cached(*args: Params.args, **kwargs: Params.kwargs) -> Kept:
            return self.look_up_or_compute(inspect.signature(compute).bind(*args, **kwargs))

        super().__init__(cached, **_OPTIONS | options)

    def with_options(self, **options: Any) -> "CachedTask[Params, Kept]":
        """Return a copy of the task with other Prefect options.

        Prefect's own method would return a task that does not keep its record.
        """
        task = CachedTask(self.compute, self.libraries, self.unkeyed, hints=self.hints, **self.options | options)
        task.run_name = self.run_name
        return task

    def key_parts(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of the key of these arguments, some of which may be Pending."""
        return key_parts(self.compute, self._inputs(arguments), self.libraries)

    def keyed_lookup(self, arguments: Mapping[str, Any], *, dry: bool = False) -> tuple[Key, Kept | CacheMiss]:
        """Return the key of these arguments, and the stored record or a CacheMiss; with `dry`, write nothing."""
        key = key_of(self.compute, self._inputs(arguments), self.libraries)
        return key, look_up_record(key, self.record_type, arguments["work"].root, dry=dry)

    def _inputs(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that belong to the key."""
        return {name: value for name, value in arguments.items() if name not in {"work", *self.unkeyed}}

    def look_up_or_compute(self, given: inspect.BoundArguments) -> Kept:
        """Return the record for these arguments; compute it if it is not stored.

        If two runs need the record at the same time, only one computes it.
        """
        work: Workspace = given.arguments["work"]
        key, found = self.keyed_lookup(given.arguments)
        if not isinstance(found, CacheMiss):
            return _as_cached_state(found)
        storage = storage_of(work.root)
        with storage.shared_lock(log), storage.key_lock(key.name, f"run {work.run}", log):
            found = look_up_record(key, self.record_type, work.root)  # another run may have stored it in the meantime
            if not isinstance(found, CacheMiss):
                return _as_cached_state(found)
            name = self.run_name.format(**given.arguments)
            why = _always(self.hints.always_runs) or found.fault or _reason_for_computing(key, name, work.root)
            given.arguments["work"] = work = work.model_copy(update={"key": key.name})
            return _compute_and_store(lambda: self.compute(*given.args, **given.kwargs), name, why, key, work)

    def has_any_record(self, root: Root) -> bool:
        """Return whether the cache under a root holds any record of this task."""
        return any(matching(root, f"{Folder.RECORDS}/{self.compute.__name__}-*.json"))


def step(
    name: str,
    *,
    libraries: tuple[str, ...] = (),
    unkeyed: tuple[str, ...] = (),
    hints: Hints = Hints(),
    **options: Any,
) -> Callable[[Callable[Params, Kept]], CachedTask[Params, Kept]]:
    """Return a decorator that turns a function into a cached Prefect task.

    Args:
        name: The name of the task's runs, with arguments in braces.
        libraries: The distributions whose versions may change the result.
        unkeyed: Arguments that do not change the result, such as the mirrors of an archive with a pinned hash.
        hints: What a dry run needs to know of the step.
        options: Options of the Prefect task.
    """

    def decorate(compute: Callable[Params, Kept]) -> CachedTask[Params, Kept]:
        return CachedTask(compute, libraries, unkeyed, hints=hints, task_run_name=name, **options)

    return decorate


class UncachedTask(Task[Params, Result]):
    """A Prefect task that runs every time, for the reason `always_runs`.

    The task receives its Workspace as the argument `work`, and adds its time to it.
    """

    def __init__(self, compute: Callable[Params, Result], name: str, always_runs: str) -> None:
        self.always_runs = always_runs

        @functools.wraps(compute)
        def timed(*args: Params.args, **kwargs: Params.kwargs) -> Result:
            work: Workspace = inspect.signature(compute).bind(*args, **kwargs).arguments["work"]
            began = perf_counter()
            try:
                return compute(*args, **kwargs)
            finally:
                seconds, why = round(perf_counter() - began, 3), _always(always_runs)
                origin = Origin(
                    step=name, kind=compute.__name__, run=work.run, at=datetime.now(UTC), seconds=seconds, why=why
                )
                work.uncached.append(origin)

        super().__init__(timed, task_run_name=name, **_OPTIONS)


def uncached_step(name: str, *, always_runs: str) -> Callable[[Callable[Params, Result]], UncachedTask[Params, Result]]:
    """Return a decorator that turns a function into a Prefect task that runs every time, for a reason."""

    def decorate(compute: Callable[Params, Result]) -> UncachedTask[Params, Result]:
        return UncachedTask(compute, name, always_runs)

    return decorate


def _always(why: str) -> str:
    """Return the reason that an explanation gives for a step that always runs; empty for any other step."""
    return f"always runs: {why}" if why else ""


def _reason_for_computing(key: Key, name: str, root: Root) -> str:
    """Return the reason why a step has no record.

    Earlier records that cannot be compared, perhaps of another version, do not stop the step.
    """
    with optional(f"reason for computing {name}", []):
        return explain_miss(key.parts, name, earlier_records(key.parts["step"], root))
    return "no earlier record can be compared"


def _as_cached_state(record: Kept) -> Kept:
    """Return the record; inside a task run, return it as a state with the name Cached.

    The message of the state names the run that made the record.
    """
    if TaskRunContext.get() is None or record.origin is None:
        return record
    return cast("Kept", Completed(name="Cached", message=f"computed by run {record.origin.run}", data=record))


def _compute_and_store(compute: Callable[[], Kept], name: str, why: str, key: Key, work: Workspace) -> Kept:
    """Compute a record, add its origin, and keep it unless an optional part of it is missing."""
    log(f"{name}: computing ({why})")
    began = perf_counter()
    try:
        record = compute()
    except MnistError:
        raise
    except io_errors() as error:
        where = getattr(error, "filename", None) or work.root
        raise StorageError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
    except Exception as error:
        if message := _failure_of_tensorflow(error):
            raise WorkerError(f"{name}: {message}") from error
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
                environment=tuple(f"{name}={value}" for name, value in key.parts.get("environment", {}).items()),
                processor=processor() if "numpy" in key.parts["libraries"] else "",
            )
        }
    )
    if not (isinstance(record, PartialRecord) and record.omitted):
        keep_record(key, record, work.root)
    work.finish()
    return record


def _failure_of_tensorflow(error: Exception) -> str:
    """Return one line that names the failed operation or the lack of memory, and what to change.

    The line is empty for any other error.
    """
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if isinstance(error, MemoryError) or (errors and isinstance(error, errors.ResourceExhaustedError)):
        return f"not enough memory: {first_line(error)}; use smaller layers or a smaller batch in the recipe"
    if errors and isinstance(error, errors.OpError):
        return f"TensorFlow rejected an operation: {first_line(error)}; change the recipe's layers or function"
    return ""
