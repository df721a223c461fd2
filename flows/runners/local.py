"""Worker processes of this machine, which run TensorFlow.

Prefect's task runner spawns one process for each concurrent training. The flow itself uses Prefect's thread runner for
steps that wait for disk and network.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, cast

from joblib import cpu_count
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner

from flows.processes.log_filters import ignore_broken_pipe
from flows.processes.parent import call_at_parent_exit
from flows.processes.prefect_compat import ProcessPoolHooks, drop_late_results, process_future
from flows.processes.startup import exclude_imports_from_gc
from flows.processes.streams import STDERR, STDOUT
from flows.runners.base import Workers, api_url, configure_threads, terminate_on_error
from flows.server.local_server import LOCAL, api_settings
from tasks.errors import WorkerError
from tasks.training.keras_runtime import import_keras

_LOST_SECONDS = 0.3  # a future that is not done this long after the end of its process will never be done


class Runner(ProcessPoolHooks, ProcessPoolTaskRunner):
    """Prefect's process pool runner, which can also start its processes before the first task."""

    def prestart(self) -> None:
        """Start all processes."""
        with _block_sigint():
            self.start_processes()

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:  # type: ignore[override]
        """Submit a task, which may start a process."""
        with _block_sigint():
            return super().submit(*args, **kwargs)


@contextmanager
def _block_sigint() -> Iterator[None]:
    """Block SIGINT in processes that the block starts, because Ctrl-C in a terminal is for the flow.

    The signal must not reach the processes even before they ignore it. They inherit the signal mask of this thread. In
    the meantime, another thread of this process receives the signal.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ProcessWorkers(Workers):
    """Workers that are processes of this machine."""

    def _dispatch(
        self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]
    ) -> PrefectFuture[Any]:
        return cast("PrefectFuture[Any]", self.runner.submit(task, parameters, dependencies=edges))

    def terminate(self) -> None:
        """Terminate the processes immediately.

        If a process is terminated while another thread waits for its future, Prefect's runner never completes that
        future. The futures of lost tasks therefore get an error here.
        """
        drop_late_results()
        for child in multiprocessing.active_children():
            child.terminate()
        for future in self.submitted:
            lost = process_future(future)
            if not wait([lost], _LOST_SECONDS).done:
                with suppress(InvalidStateError):
                    lost.set_exception(WorkerError("the step was ended before it had a result"))


@contextmanager
def worker_processes(trainings: int, *, ahead: bool) -> Iterator[Workers]:
    """Open worker processes that share this machine's cores, use the flow's server, and end with the flow.

    With `ahead`, they start and import TensorFlow immediately, while the flow does the work before the trainings.

    Raises:
        WorkerError: If a worker process died.
    """
    count, threads = allocate_cores(trainings, cpu_count())
    runner = Runner(max_workers=count, initializer=_init_worker, initargs=(threads,))
    url = api_url()
    with api_settings(url), runner:
        workers = ProcessWorkers(runner, exclusive_server=url in LOCAL)
        if ahead:
            runner.prestart()
        message = "a worker process died; it may have run out of memory; see the system's log"
        # Without this, the pool would wait for trainings whose results are no longer needed.
        with terminate_on_error(workers, BrokenProcessPool, lambda _: message):
            yield workers


def allocate_cores(trainings: int, cores: int) -> tuple[int, int]:
    """Divide cores between processes without oversubscription.

    Small convolutions gain little from a second thread (docs/performance.md). Therefore, one process with one thread
    runs for each training, up to the number of cores, and a process gets more threads only if cores are left over.

    Returns:
        The number of processes, and the number of TensorFlow threads for each of them.
    """
    processes = max(1, min(trainings, cores))
    return processes, max(1, cores // processes)


def _init_worker(threads: int) -> None:
    """Initialize a new worker process, and import TensorFlow."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the flow handles Ctrl-C and ends its workers
    os.dup2(STDERR, STDOUT)  # output of the user's functions is not part of the flow's result
    if parent := multiprocessing.parent_process():
        call_at_parent_exit(lambda: os._exit(1), parent=parent.pid)
    ignore_broken_pipe()
    configure_threads(threads)
    with exclude_imports_from_gc():
        import_keras()
