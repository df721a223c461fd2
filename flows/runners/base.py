"""Workers: where the steps that take long are computed, whatever runs them."""

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture, as_completed
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync, resolve_inputs_sync

from flows.processes.log_filters import hide_expected_tracebacks
from tasks.engine.cache import CacheMiss
from tasks.engine.cached_task import CachedTask
from tasks.engine.optional_parts import optional
from tasks.errors import WorkerError, causes
from tasks.schemas.records import Omission
from tasks.training.keras_runtime import without_hdf5_echo

Structure = TypeVar("Structure")


class Workers(ABC):
    """Submits tasks to workers; those whose records are kept are run here, so that nothing is started for them.

    `alone` says that no other run can be at the same server, which limits how many train at once.
    """

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        self.submitted: list[PrefectFuture[Any]] = []

    def submit(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As `submit`, but to a worker if there is something to compute."""
        if self.alone:
            task = task.with_options()
            task.tags = set()  # to ask for a place takes two seconds, and nobody else can take one
        parameters = inspect.signature(task.fn).bind(*args, **kwargs).arguments
        # As long as nothing was sent, whatever this step waits for is found as soon as it is looked for.
        if not self.submitted and _is_cached(task, parameters):
            return submit(task, *args, **kwargs)
        # Futures are resolved before they reach the worker, where Prefect would look for the graph's edges.
        edges = {name: cast("set[Any]", collect_task_run_inputs_sync(value)) for name, value in parameters.items()}
        future = self.send(task, parameters, edges)
        self.submitted.append(future)
        return future

    @abstractmethod
    def send(self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]) -> PrefectFuture[Any]:
        """Send a task to a worker; `edges` are the task runs that its parameters come from."""

    @abstractmethod
    def end(self) -> None:
        """See to it that nothing more is computed, and that nothing waits for results that will never come."""


def _is_cached(task: CachedTask[..., Any], parameters: dict[str, Any]) -> bool:
    """Whether a step would find its record; not if what it waits for has failed, which `wait_for_all` tells."""
    try:
        return not isinstance(task.lookup(resolve_inputs_sync(parameters)), CacheMiss)
    except PrefectException:
        return False


@contextmanager
def terminate_on_error(workers: Workers, lost: type[Exception], said: Callable[[BaseException], str]) -> Iterator[None]:
    """End workers where anything fails.

    Raises:
        WorkerError: one was lost; a step that waits for it fails with an error of Prefect's own, which that has led to.
    """
    try:
        yield
    except BaseException as error:
        workers.end()
        if any(isinstance(one, lost) for one in causes(error)):
            raise WorkerError(said(error)) from error
        raise


def api_url() -> str:
    """Where this flow's server answers."""
    return str(get_client(sync_client=True).api_url).rstrip("/")


def configure_threads(threads: int) -> None:
    """Say to a process that will import TensorFlow and scikit-learn how many threads it has, and how quiet to be."""
    os.environ.update(thread_settings(threads))
    hide_expected_tracebacks()
    without_hdf5_echo()


def thread_settings(threads: int) -> dict[str, str]:
    """What the environment must say before TensorFlow and OpenMP, which scikit-learn has, are loaded."""
    each = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {**dict.fromkeys(each, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}


def submit(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Submit a task to the flow's own threads; the future has the type of any value, since it stands for the record."""
    return task.submit(*args, **kwargs)


def wait_for_all(structure: Structure) -> Structure:
    """Wait for all futures in a structure, and return the structure with their results in their places.

    The first error is raised as soon as it is there. What fails because something before it has failed is not what went wrong:
    that other error is raised.
    """
    found: dict[int, PrefectFuture[Any]] = {}  # one may stand in several places

    def collect(value: Any) -> Any:
        if isinstance(value, PrefectFuture):
            found[id(value)] = value
        return value

    visit_collection(structure, visit_fn=collect)
    futures = list(found.values())
    for future in as_completed(futures):
        try:
            future.result()
        except PrefectException as error:
            raise next(_root_causes(futures), error) from None
    return cast("Structure", visit_collection(structure, visit_fn=_result_of, return_data=True))


def _result_of(value: Any) -> Any:
    """The result of a future that is done; any other value itself."""
    return value.result() if isinstance(value, PrefectFuture) else value


def wait_for_optional(part: str, futures: Mapping[str, Any], omissions: list[Omission]) -> dict[str, Any]:
    """Wait for the futures of an optional part of several models, and return those that have not failed."""
    found = {}
    for name, future in futures.items():
        with optional(f"{part} of {name}", omissions):
            future.result()
            found[name] = future
    return found


def _root_causes(futures: Sequence[PrefectFuture[Any]]) -> Iterator[Exception]:
    """The errors of those futures that have failed by themselves, in order."""
    for future in futures:
        try:
            future.result(timeout=0.1)
        except (PrefectException, TimeoutError):
            continue
        except Exception as error:  # noqa: BLE001  # whatever it was, it is handed on
            yield error
