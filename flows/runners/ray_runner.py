"""Workers of a Ray cluster, whose nodes are checked for compatibility before they get a task."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from prefect import Task
from prefect.futures import PrefectFuture
from prefect_ray.task_runners import PrefectRayFuture, RayTaskRunner
from ray.exceptions import RayError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flows.processes.prefect_compat import has_final_state, wrapped_future
from flows.runners.base import Workers, api_url, terminate_on_error, thread_settings
from flows.runners.cluster import ClusterWorkers
from flows.runners.compatibility import EnvironmentFingerprint, incompatibilities, probe_file
from flows.server.local_server import LOCAL
from tasks.errors import WorkerError, first_line
from tasks.safety.environment import NUMBERS
from tasks.storage.backend import Root

_CONNECT_SECONDS = 10


class Future(PrefectRayFuture[Any]):  # type: ignore[misc]  # the package has no type annotations
    """A future that keeps its state, once known, after the connection has ended.

    Prefect's own future would start a new cluster here to request the state again.
    """

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the final state, unless it is known."""
        if not has_final_state(self):
            super().wait(timeout)


class RayWorkers(ClusterWorkers):
    """The workers of a Ray cluster."""

    known = PrefectRayFuture

    def _dispatch(
        self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]
    ) -> PrefectFuture[Any]:
        sent = super()._dispatch(task, parameters, edges)
        return Future(task_run_id=sent.task_run_id, wrapped_future=wrapped_future(sent))

    def cancel(self, futures: list[Any]) -> None:
        """Cancel the futures that have not started."""
        for future in futures:
            ray.cancel(future)


@contextmanager
def ray_workers(address: str, root: Root) -> Iterator[Workers]:
    """Connect to the cluster whose head node answers at ray://HOST:PORT, and yield its workers.

    Raises:
        WorkerError: If there is no cluster, a node is not compatible, or too many workers were lost.
    """
    api = api_url()
    with _connect_to_ray(address) as runner, probe_file(root) as mark:
        workers = RayWorkers(runner, exclusive_server=api in LOCAL)
        with terminate_on_error(
            workers,
            WorkerCrashedError,
            lambda error: f"too many Ray workers were lost: {first_line(error)}; see their logs",
        ):
            here = EnvironmentFingerprint.here()
            for node in (node for node in ray.nodes() if node["Alive"]):
                _require_compatible(node, here, mark, api)
            yield workers


@contextmanager
def _connect_to_ray(address: str) -> Iterator[RayTaskRunner[Any]]:
    """Yield Prefect's runner, connected to a cluster.

    In each process of the cluster, TensorFlow has one thread, for one training at a time.
    """
    variables = thread_settings(threads=1) | {name: os.environ.get(name, "") for name in NUMBERS}
    settings = {"logging_level": "ERROR", "log_to_driver": False, "runtime_env": {"env_vars": variables}}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with ExitStack() as stack:
        stack.callback(ray.shutdown)  # called last, even if the block raises an error
        try:
            # Ray itself would retry for half a minute.
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
            runner = _enter_runner(stack, address, settings)
        except (OSError, RayError) as error:
            raise WorkerError(
                f"no Ray cluster answers at {address}: {first_line(error)}; start it, or give another --runner"
            ) from error
        yield runner


def _enter_runner(stack: ExitStack, address: str, settings: dict[str, Any]) -> RayTaskRunner[Any]:
    """Return a runner that is connected to a cluster, after a second attempt if the first fails.

    The head node starts a process for each client, with a fork of a process that has many threads. Now and then, this
    process hangs before it answers.
    """
    try:
        return stack.enter_context(RayTaskRunner(address=address, init_kwargs=settings))
    except (OSError, RayError):
        ray.shutdown()
        return stack.enter_context(RayTaskRunner(address=address, init_kwargs=settings))


def _require_compatible(node: dict[str, Any], common: EnvironmentFingerprint, mark: Root, api: str) -> None:
    """Check, in a process of a node, that the node is compatible."""
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    name = f"the Ray node {node['NodeManagerAddress']}"
    try:
        faults = ray.get(_ask.options(scheduling_strategy=there).remote(common, mark, api))
    except RayError as error:
        raise WorkerError(f"can't check whether {name} is compatible: {first_line(error)}") from error
    if faults:
        raise WorkerError(f"{name} {faults[0]}")


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _ask(common: EnvironmentFingerprint, mark: Root, api: str) -> list[str]:
    """Return the incompatibilities of the process that runs this function."""
    return list(incompatibilities(common, mark, api, 1))
