"""Choice of the runner of the trainings: processes of this machine, or a cluster."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flows.runners.base import Workers
from flows.runners.local import worker_processes
from flows.server.vetting import PROCESS, RUNNERS
from tasks.config.recipe import ModelSpec, unique_trainings
from tasks.errors import InputError
from tasks.storage.backend import Root

_CLUSTER = re.compile(r"(?P<kind>dask|tls|ray)://(?P<address>[^/@\s]+:\d+)")
_LIBRARY = {"dask": "dask", "tls": "dask", "ray": "ray"}  # Dask's name for its encrypted protocol is tls


def validate_runner(value: object) -> str:
    """Return the name of a runner.

    Raises:
        InputError: If the value is not the name of a runner.
    """
    if value == PROCESS or (isinstance(value, str) and _CLUSTER.fullmatch(value)):
        return str(value)
    raise InputError(f"runner must be {PROCESS}, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, not {value!r}")


def require_allowed_runner(value: object) -> str:
    """Return the name of a runner that this process may use.

    If the variable MNIST_RUNNERS is set, it lists the allowed clusters. The results of a cluster are unpickled, so a
    worker must not use an arbitrary address from a run's parameters.

    Raises:
        InputError: If the value is not the name of a runner, or the runner is not allowed here.
    """
    runner, allowed = validate_runner(value), os.environ.get(RUNNERS)
    if runner != PROCESS and allowed is not None and runner not in allowed.split():
        raise InputError(f"the runner {runner} is not allowed here: start the worker with --allow-runner {runner}")
    return runner


@contextmanager
def open_workers(runner: str, model_specs: Iterable[ModelSpec], root: Root, *, ahead: bool) -> Iterator[Workers]:
    """Open the workers of a runner for all trainings of the models.

    With `ahead`, the processes of this machine start immediately.

    Raises:
        InputError: If the library of the runner is missing.
        WorkerError: If the workers can't be reached or one of them died.
    """
    found = _CLUSTER.fullmatch(runner)
    if not found:
        with worker_processes(len(unique_trainings(model_specs)), ahead=ahead) as processes:
            yield processes
        return
    try:
        if _LIBRARY[found["kind"]] == "dask":
            from flows.runners.dask_runner import dask_workers  # noqa: PLC0415  # imported only for a cluster

            cluster = dask_workers(runner if found["kind"] == "tls" else found["address"], root)
        else:
            from flows.runners.ray_runner import ray_workers  # noqa: PLC0415

            cluster = ray_workers(runner, root)
    except ImportError as error:
        kind = _LIBRARY[found["kind"]]
        raise InputError(
            f"--runner {found['kind']} needs {error.name}: pip install 'mnist-error-analysis[{kind}]'"
        ) from error
    with cluster as workers:
        yield workers
