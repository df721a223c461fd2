"""Worker processes: where TensorFlow lives. One process a model, spawned, through Prefect's own task runner.

The flow itself keeps Prefect's thread runner for what waits on disk and network.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import InvalidStateError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, cast

from joblib import cpu_count
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner

from flows.processes.log_filters import outlive_readers
from flows.processes.startup import exclude_imports_from_gc
from flows.processes.streams import STDERR, STDOUT
from flows.runners.base import Workers, api_url, configure_threads, terminate_on_error
from flows.server.local_server import LOCAL, api_settings
from tasks.errors import WorkerError
from tasks.training.keras_runtime import import_keras

_LOST_SECONDS = 0.3  # a future that is not done this long after its process ended will never be


class Runner(ProcessPoolTaskRunner):
    """Prefect's runner of processes, which can start them before there is anything to do."""

    def start_ahead(self) -> None:
        """Start all processes."""
        assert self._executor  # noqa: S101  # the runner was entered
        with _block_sigint():
            for _ in range(self._max_workers):
                self._executor.submit(int)  # a process is started for each, as long as none of them is ready

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:  # type: ignore[override]
        """Submit a task, for which a process may be started."""
        with _block_sigint():
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
def _block_sigint() -> Iterator[None]:
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
        logging.getLogger("concurrent.futures").addFilter(_in_time)
        for child in multiprocessing.active_children():
            child.terminate()
        for future in self.submitted:
            chained = cast("Any", future).wrapped_future.wrapped_future
            if not wait([chained], _LOST_SECONDS).done:
                with suppress(InvalidStateError):
                    chained.set_exception(WorkerError("it was ended before its result was there"))


def _in_time(record: logging.LogRecord) -> bool:
    """A filter that drops the traceback of a result that came after its future was given up."""
    return not (record.exc_info and isinstance(record.exc_info[1], InvalidStateError))


@contextmanager
def worker_processes(trainings: int, *, ahead: bool) -> Iterator[Workers]:
    """Worker processes that share this machine's cores, talk to the flow's server, and end with the flow.

    With `ahead`, they start and import TensorFlow at once, while the flow does what comes before the trainings.

    Raises:
        WorkerError: one of them died.
    """
    count, threads = allocate_cores(trainings, cpu_count())
    runner = Runner(max_workers=count, initializer=_init_worker, initargs=(threads,))
    url = api_url()
    with api_settings(url), runner:
        workers = ProcessWorkers(runner, alone=url in LOCAL)
        if ahead:
            runner.start_ahead()
        said = "a worker process died; it may have run out of memory: see the system's log"
        # Else the pool would wait for trainings whose results nobody wants any more.
        with terminate_on_error(workers, BrokenProcessPool, lambda _: said):
            yield workers


def allocate_cores(trainings: int, cores: int) -> tuple[int, int]:
    """How many processes, and how many threads for each of their TensorFlows: no two trainings fight over a core.

    One thread is as fast as the cores are many (docs/performance.md): small convolutions hardly gain from a second. So there
    are as many trainings at once as there are cores for, and threads only where cores are left over.
    """
    processes = max(1, min(trainings, cores))
    return processes, max(1, cores // processes)


def _init_worker(threads: int) -> None:
    """Make a fresh worker process ready, and import TensorFlow."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the flow, which ends its workers
    os.dup2(STDERR, STDOUT)  # what functions of the user's print is no part of the flow's result
    threading.Thread(target=_exit_when_parent_exits, daemon=True).start()
    outlive_readers()
    configure_threads(threads)
    with exclude_imports_from_gc():
        import_keras()


def _exit_when_parent_exits() -> None:
    """Wait for the parent process to end, however it does, and end with it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
