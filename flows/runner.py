"""Runner: where the trainings run: in processes of this machine, or on a cluster."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flows.workers import Workers, worker_processes
from tasks.errors import InputError
from tasks.store import Root

PROCESS = "process"
CLUSTER = re.compile(r"(?P<kind>dask|ray)://(?P<address>[^/@\s]+:\d+)")


def checked_runner(value: object) -> str:
    """The name of a runner.

    Raises:
        InputError: it is none.
    """
    if value == PROCESS or (isinstance(value, str) and CLUSTER.fullmatch(value)):
        return str(value)
    raise InputError(f"runner must be {PROCESS}, dask://HOST:PORT or ray://HOST:PORT, not {value!r}")


@contextmanager
def workers_of(runner: str, trainings: int, root: Root, *, ahead: bool) -> Iterator[Workers]:
    """The workers of a runner, for so many trainings; with `ahead`, processes of this machine start at once.

    Raises:
        InputError: the library for it is missing.
        WorkerError: they can't be had, or one of them died.
    """
    found = CLUSTER.fullmatch(runner)
    if not found:
        with worker_processes(trainings, ahead=ahead) as processes:
            yield processes
        return
    try:
        if found["kind"] == "dask":
            from flows.on_dask import dask_workers  # noqa: PLC0415  # where there is a cluster

            cluster = dask_workers(found["address"], root)
        else:
            from flows.on_ray import ray_workers  # noqa: PLC0415

            cluster = ray_workers(runner, root)
    except ImportError as error:
        kind = found["kind"]
        raise InputError(f"--runner {kind} needs {error.name}: pip install 'mnist-error-analysis[{kind}]'") from error
    with cluster as workers:
        yield workers
