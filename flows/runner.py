"""Runner: where the trainings run: in processes of this machine, or on a Dask cluster."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flows.workers import Workers, worker_processes
from tasks.errors import InputError
from tasks.store import Root

PROCESS = "process"
DASK = re.compile(r"dask://(?P<address>[^/@\s]+:\d+)")


def checked_runner(value: object) -> str:
    """The name of a runner.

    Raises:
        InputError: it is none.
    """
    if value == PROCESS or (isinstance(value, str) and DASK.fullmatch(value)):
        return str(value)
    raise InputError(f"runner must be {PROCESS} or dask://HOST:PORT, not {value!r}")


@contextmanager
def workers_of(runner: str, trainings: int, root: Root, *, ahead: bool) -> Iterator[Workers]:
    """The workers of a runner, for so many trainings; with `ahead`, processes of this machine start at once.

    Raises:
        InputError: the library for it is missing.
        WorkerError: they can't be had, or one of them died.
    """
    if found := DASK.fullmatch(runner):
        try:
            from flows.cluster import cluster_workers  # noqa: PLC0415  # where there is a cluster
        except ImportError as error:
            raise InputError(f"--runner dask needs {error.name}: pip install 'mnist-error-analysis[dask]'") from error
        with cluster_workers(found["address"], root) as workers:
            yield workers
    else:
        with worker_processes(trainings, ahead=ahead) as processes:
            yield processes
