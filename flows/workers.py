"""Worker processes: where TensorFlow lives. One process a model, spawned, through Prefect's own task runner.

The flow itself keeps Prefect's thread runner for what waits on disk and network.
"""

import inspect
import logging
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from joblib import cpu_count
from prefect import Task
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync, resolve_inputs_sync

from flows.lasting import lasting
from flows.logs import one_line_errors, outlive_readers
from flows.server import LOCAL, using_api
from flows.streams import STDERR, STDOUT
from tasks.engine.cache import Miss
from tasks.engine.cached_task import CachedTask
from tasks.engine.optional_parts import optional
from tasks.errors import WorkerError, causes
from tasks.schemas.records import Omission
from tasks.training.keras_runtime import import_keras, without_hdf5_echo

Structure = TypeVar("Structure")

LOST_SECONDS = 0.3  # a future that is not done this long after its process ended will never be


class Runner(ProcessPoolTaskRunner):
    """Prefect's runner of processes, which can start them before there is anything to do."""

    def start_ahead(self) -> None:
        """Start all processes."""
        assert self._executor  # noqa: S101  # the runner was entered
        with without_ctrl_c():
            for _ in range(self._max_workers):
                self._executor.submit(int)  # a process is started for each, as long as none of them is ready

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:  # type: ignore[override]
        """Submit a task, for which a process may be started."""
        with without_ctrl_c():
            return super().submit(*args, **kwargs)

    def _stop_message_forwarding(self) -> None:
        """End the thread that passes on what the processes have logged; they have all ended.

        Prefect would put a last message into their queue, and wait for ever where one of them died in the middle of a message:
        the queue's lock is still that process's. Once nobody can write, the thread finds the end after all that was written.
        """
        queue, thread = self._subprocess_message_queue, self._message_forwarding_thread
        if queue is not None and thread is not None:
            queue._writer.close()  # noqa: SLF001
            thread.join(timeout=5)
        self._subprocess_message_queue = self._message_forwarding_thread = None


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Start processes that a terminal's Ctrl-C does not reach, not even before they have come to ignore it; it is the flow's.

    They inherit what this thread blocks. Another thread of this process takes the signal meanwhile.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        if not self.submitted and kept(task, parameters):
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


class ProcessWorkers(Workers):
    """Workers that are processes of this machine."""

    def __init__(self, runner: Runner, *, alone: bool) -> None:
        super().__init__(alone=alone)
        self.runner = runner

    def send(self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]) -> PrefectFuture[Any]:
        """Send a task to a process."""
        return self.runner.submit(task, parameters, dependencies=edges)

    def end(self) -> None:
        """End the processes at once.

        Prefect's runner loses sight of a future whose process is ended while another waits for it, and then waits itself.
        """
        logging.getLogger("concurrent.futures").addFilter(in_time)
        for child in multiprocessing.active_children():
            child.terminate()
        for future in self.submitted:
            chained = cast("Any", future).wrapped_future.wrapped_future
            if not wait([chained], LOST_SECONDS).done:
                with suppress(InvalidStateError):
                    chained.set_exception(WorkerError("it was ended before its result was there"))


def in_time(record: logging.LogRecord) -> bool:
    """A filter that drops the traceback of a result that came after its future was given up."""
    return not (record.exc_info and isinstance(record.exc_info[1], InvalidStateError))


def kept(task: CachedTask[..., Any], parameters: dict[str, Any]) -> bool:
    """Whether a step would find its record; not if what it waits for has failed, which `wait_for_all` tells."""
    try:
        return not isinstance(task.lookup(resolve_inputs_sync(parameters)), Miss)
    except PrefectException:
        return False


@contextmanager
def worker_processes(trainings: int, *, ahead: bool) -> Iterator[Workers]:
    """Worker processes that share this machine's cores, talk to the flow's server, and end with the flow.

    With `ahead`, they start and import TensorFlow at once, while the flow does what comes before the trainings.

    Raises:
        WorkerError: one of them died.
    """
    count, threads = shares(trainings, cpu_count())
    runner = Runner(max_workers=count, initializer=prepare, initargs=(threads,))
    url = api_url()
    with using_api(url), runner:
        workers = ProcessWorkers(runner, alone=url in LOCAL)
        if ahead:
            runner.start_ahead()
        said = "a worker process died; it may have run out of memory: see the system's log"
        # Else the pool would wait for trainings whose results nobody wants any more.
        with ended_on_error(workers, BrokenProcessPool, lambda _: said):
            yield workers


@contextmanager
def ended_on_error(workers: Workers, lost: type[Exception], said: Callable[[BaseException], str]) -> Iterator[None]:
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


def shares(trainings: int, cores: int) -> tuple[int, int]:
    """How many processes, and how many threads for each of their TensorFlows: no two trainings fight over a core.

    One thread is as fast as the cores are many (docs/performance.md): small convolutions hardly gain from a second. So there
    are as many trainings at once as there are cores for, and threads only where cores are left over.
    """
    processes = max(1, min(trainings, cores))
    return processes, max(1, cores // processes)


def prepare(threads: int) -> None:
    """Make a fresh worker process ready, and import TensorFlow."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the flow, which ends its workers
    os.dup2(STDERR, STDOUT)  # what functions of the user's print is no part of the flow's result
    threading.Thread(target=end_with_parent, daemon=True).start()
    outlive_readers()
    settle(threads)
    with lasting():
        import_keras()


def settle(threads: int) -> None:
    """Say to a process that will import TensorFlow and scikit-learn how many threads it has, and how quiet to be."""
    os.environ.update(settings_for(threads))
    one_line_errors()
    without_hdf5_echo()


def settings_for(threads: int) -> dict[str, str]:
    """What the environment must say before TensorFlow and OpenMP, which scikit-learn has, are loaded."""
    each = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return {**dict.fromkeys(each, str(threads)), "TF_CPP_MIN_LOG_LEVEL": "3"}


def end_with_parent() -> None:
    """Wait for the parent process to end, however it does, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
            raise next(errors_of(futures), error) from None
    return cast("Structure", visit_collection(structure, visit_fn=result_of, return_data=True))


def result_of(value: Any) -> Any:
    """The result of a future that is done; any other value itself."""
    return value.result() if isinstance(value, PrefectFuture) else value


def available(part: str, futures: Mapping[str, Any], omissions: list[Omission]) -> dict[str, Any]:
    """Wait for the futures of an optional part of several models, and return those that have not failed."""
    found = {}
    for name, future in futures.items():
        with optional(f"{part} of {name}", omissions):
            future.result()
            found[name] = future
    return found


def errors_of(futures: Sequence[PrefectFuture[Any]]) -> Iterator[Exception]:
    """The errors of those futures that have failed by themselves, in order."""
    for future in futures:
        try:
            future.result(timeout=0.1)
        except (PrefectException, TimeoutError):
            continue
        except Exception as error:  # noqa: BLE001  # whatever it was, it is handed on
            yield error
