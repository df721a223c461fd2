"""Choice of the runner of the trainings: processes of this machine, or a cluster."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flows.config import CLUSTER, RUNNER_LIBRARIES, missing_library
from flows.runners.base import Workers
from flows.runners.local import worker_processes
from tasks.config.recipe import ModelSpec, unique_trainings
from tasks.storage.backend import Root


@contextmanager
def open_workers(runner: str, model_specs: Iterable[ModelSpec], root: Root, *, ahead: bool) -> Iterator[Workers]:
    """Open the workers of a runner for all trainings of the models.

    With `ahead`, the processes of this machine start immediately.

    Raises:
        InputError: If the library of the runner is missing.
        WorkerError: If the workers can't be reached or one of them died.
    """
    found = CLUSTER.fullmatch(runner)
    if not found:
        with worker_processes(len(unique_trainings(model_specs)), ahead=ahead) as processes:
            yield processes
        return
    try:
        if RUNNER_LIBRARIES[found["kind"]] == "dask":
            from flows.runners.dask_runner import dask_workers  # noqa: PLC0415  # imported only for a cluster

            cluster = dask_workers(runner if found["kind"] == "tls" else found["address"], root)
        else:
            from flows.runners.ray_runner import ray_workers  # noqa: PLC0415

            cluster = ray_workers(runner, root)
    except ImportError as error:
        raise missing_library(runner, error.name) from error
    with cluster as workers:
        yield workers
