"""The common interface of the workers of slow steps, and functions to submit tasks and wait for futures."""

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
from prefect.task_runners import TaskRunner
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


class Submitter(ABC):
    """Takes the steps of a flow, in order, and returns what stands for their records: futures, or the plan's results."""

    @abstractmethod
    def submit(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Submit a slow step, which needs a worker.

        What is returned is typed as Any, because it takes the place of the record in annotations.
        """

    @abstractmethod
    def submit_here(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Submit a step that the flow's own process runs."""


class Workers(Submitter):
    """Workers behind one of Prefect's task runners.

    A task whose record is cached runs in the flow's process, so no worker starts for it.

    `exclusive_server` is True if no other run can use the same server, which limits the number of concurrent trainings.
    """

    def __init__(self, runner: TaskRunner[Any], *, exclusive_server: bool) -> None:
        self.runner, self.exclusive_server = runner, exclusive_server
        self.submitted: list[PrefectFuture[Any]] = []

    def submit(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Submit a task like `submit_here`, but to a worker if its record is not cached."""
        if self.exclusive_server:
            task = task.with_options()
            task.tags = set()  # acquiring a concurrency slot takes two seconds, and no other run competes for one
        parameters = inspect.signature(task.fn).bind(*args, **kwargs).arguments
        # While no task has been sent, all inputs of this step are cached, so waiting for them takes no time.
        if not self.submitted and _is_cached(task, parameters):
            return self.submit_here(task, *args, **kwargs)
        # Prefect would look for the graph's edges in the worker, which gets the results in place of the futures.
        edges = {name: cast("set[Any]", collect_task_run_inputs_sync(value)) for name, value in parameters.items()}
        future = self._dispatch(task, parameters, edges)
        self.submitted.append(future)
        return future

    def submit_here(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Submit a task to the flow's own threads."""
        return submit(task, *args, **kwargs)

    @abstractmethod
    def _dispatch(
        self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]
    ) -> PrefectFuture[Any]:
        """Send a task to a worker; `edges` are the task runs that its parameters come from."""

    @abstractmethod
    def terminate(self) -> None:
        """Stop all computations, and make sure that nothing waits for results that will never arrive."""


def _is_cached(task: CachedTask[..., Any], parameters: dict[str, Any]) -> bool:
    """Return whether the record of a step is cached.

    False if an input of the step has failed; `wait_for_all` reports that failure.
    """
    try:
        _, found = task.keyed_lookup(resolve_inputs_sync(parameters))
        return not isinstance(found, CacheMiss)
    except PrefectException:
        return False


@contextmanager
def terminate_on_error(
    workers: Workers, lost: type[Exception], describe: Callable[[BaseException], str]
) -> Iterator[None]:
    """Terminate the workers if the block raises an error.

    Raises:
        WorkerError: If a worker was lost. The steps that wait for it fail with an error of Prefect's, which is then the
            cause.
    """
    try:
        yield
    except BaseException as error:
        workers.terminate()
        if any(isinstance(one, lost) for one in causes(error)):
            raise WorkerError(describe(error)) from error
        raise


def api_url() -> str:
    """Return the API URL of this flow's server."""
    return str(get_client(sync_client=True).api_url).rstrip("/")


def configure_threads(threads: int) -> None:
    """Set the number of threads and the log level for TensorFlow and scikit-learn before this process imports them."""
    os.environ.update(thread_settings(threads))
    hide_expected_tracebacks()
    without_hdf5_echo()


def thread_settings(threads: int) -> dict[str, str]:
    """Return the environment variables to set before TensorFlow and OpenMP, which scikit-learn uses, are loaded."""
    each = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {**dict.fromkeys(each, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}


def submit(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Submit a task to the flow's own threads.

    The future is typed as Any, because it takes the place of the record in annotations.
    """
    return task.submit(*args, **kwargs)


def wait_for_all(structure: Structure, finished: Callable[[Any], object] = lambda _future: None) -> Structure:
    """Wait for all futures in a structure, and return the structure with their results in place of the futures.

    `finished` is called with each future when it has its result. The first error is raised as soon as it occurs. If a
    step fails because an earlier step failed, the error of the earlier step is raised.
    """
    found: dict[int, PrefectFuture[Any]] = {}  # by identity: a future may occur in several places

    def collect(value: Any) -> Any:
        if isinstance(value, PrefectFuture):
            found[id(value)] = value
        return value

    visit_collection(structure, visit_fn=collect)
    futures = list(found.values())
    for future in as_completed(futures):
        try:
            future.result()
            finished(future)
        except PrefectException as error:
            raise next(_root_causes(futures), error) from None

    def result_of(value: Any) -> Any:
        return value.result() if isinstance(value, PrefectFuture) else value

    return cast("Structure", visit_collection(structure, visit_fn=result_of, return_data=True))


def wait_for_optional(part: str, futures: Mapping[str, Any], omissions: list[Omission]) -> dict[str, Any]:
    """Wait for the futures of an optional part of several models, and return the futures that have not failed."""
    found = {}
    for name, future in futures.items():
        with optional(f"{part} of {name}", omissions):
            wait_for_all(future)
            found[name] = future
    return found


def _root_causes(futures: Sequence[PrefectFuture[Any]]) -> Iterator[Exception]:
    """Yield the errors of the futures that have failed by themselves, in order."""
    for future in futures:
        try:
            future.result(timeout=0.1)
        except (PrefectException, TimeoutError):
            continue
        except Exception as error:  # noqa: BLE001  # any error is passed on
            yield error
