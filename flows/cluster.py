"""Cluster: workers that are processes of a Dask cluster, on this machine or on others.

They have the root and Prefect's API in common with the flow, and nothing else. Before one is given anything to do, it is asked
whether it has the same code, the same libraries, the same root, and a way to the API; one that joins later is asked, too. A
worker that is lost is replaced by another: what it did is done again, from the last epoch on that it has left under the root.
"""

import os
import platform
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import distributed
import httpx
import psutil
from distributed.diagnostics.plugin import WorkerPlugin
from prefect import Task
from prefect.futures import PrefectFuture
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import resolve_inputs_sync
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from flows.server import LOCAL, drain
from flows.workers import Workers, api_url, settle
from tasks.cache import versions
from tasks.code import code_digests, path_of
from tasks.errors import MnistError, WorkerError, causes
from tasks.provenance import LIBRARIES
from tasks.store import Root, refusals

CONNECT_SECONDS = 10
JOIN_SECONDS = 30  # in which a first worker must be there
STEPS = ("tasks.train", "tasks.evaluate", "tasks.explain")  # what is sent to workers


class Common(NamedTuple):
    """What a flow and its workers must have in common: the digests of the code by module, and the versions of libraries."""

    code: Mapping[str, str]
    libraries: Mapping[str, str]

    @classmethod
    def here(cls) -> "Common":
        """What this process has."""
        code = {name: digest for step in STEPS for name, digest in code_digests(step).items()}
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(code, {"python": python, **versions(LIBRARIES)})


class Fit(WorkerPlugin):  # type: ignore[misc]  # no types are published
    """Looks whether a worker fits a flow, and makes it ready."""

    def __init__(self, common: Common, mark: Root, api: str) -> None:
        self.name = f"mnist-{uuid.uuid4().hex}"
        self.common, self.mark, self.api = common, mark, api

    def setup(self, worker: Any) -> None:
        """Refuse a worker that does not fit.

        Raises:
            WorkerError: it has other code or libraries, more than one thread, or no way to the root or the API.
        """
        for fault in misfits(self.common, self.mark, self.api, worker.state.nthreads):
            raise WorkerError(f"the Dask worker {worker.address} {fault}")
        settle(threads=1)  # as many trainings at once as there are workers


def misfits(common: Common, mark: Root, api: str, threads: int) -> Iterator[str]:
    """What is wrong with this process as a worker, and what to do about it."""
    here = Common.here()
    if code := different(common.code, here.code):
        yield f"has other code ({', '.join(code)}): install the same version there, and start it again"
    if stale := [name for name in here.code if is_stale(name)]:
        yield f"runs code that has changed since it was started ({', '.join(stale)}): start it again"
    if libraries := different(common.libraries, here.libraries):
        said = ", ".join(f"{name} {here.libraries.get(name)}, not {common.libraries.get(name)}" for name in libraries)
        yield f"has other libraries ({said}): install those of requirements.lock there, and start it again"
    if threads != 1:
        yield f"has {threads} threads, and Keras is no good in several: start it with --nthreads 1"
    root = mark.parent.parent
    try:
        if not mark.exists():
            yield f"does not see the files under the root {root}: give a root that both have, such as s3://BUCKET/PREFIX"
    except refusals() as error:
        yield f"can't reach the root {root}: {error}"
    try:
        httpx.get(f"{api}/health", timeout=CONNECT_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        yield f"can't reach the Prefect server at {api} ({error}): set PREFECT_API_URL to one that it can"


def different(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The names of what is not the same in both."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def is_stale(module: str) -> bool:
    """Whether a module that this process has imported was written after the process began."""
    path = path_of(module)
    return module in sys.modules and path is not None and path.stat().st_mtime > psutil.Process().create_time()


class ClusterWorkers(Workers):
    """Workers that are processes of a Dask cluster."""

    def __init__(self, runner: DaskTaskRunner, *, alone: bool) -> None:
        super().__init__(alone=alone)
        self.runner = runner

    def send(self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]) -> PrefectFuture[Any]:
        """Send a task to a worker; what other workers compute goes there without a way around, all else is waited for here."""

        def resolved(value: Any) -> Any:
            known = isinstance(value, PrefectFuture) and not isinstance(value, PrefectDaskFuture)
            return resolve_inputs_sync({"it": value})["it"] if known else value

        here = visit_collection(parameters, visit_fn=resolved, return_data=True)
        return cast("PrefectFuture[Any]", self.runner.submit(task, here, dependencies=edges))

    def end(self) -> None:
        """Withdraw what was not begun; what was begun comes to its end, and is kept."""
        self.runner.client.cancel(
            [future.wrapped_future for future in self.submitted if isinstance(future, PrefectDaskFuture)]
        )


@contextmanager
def cluster_workers(address: str, root: Root) -> Iterator[Workers]:
    """The workers of the cluster whose scheduler answers at an address.

    Raises:
        WorkerError: there is none, a worker does not fit, or too many were lost.
    """
    api = api_url()
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": CONNECT_SECONDS})
    with runner, marked(root) as mark:
        client = connected(runner, address)
        fit = Fit(Common.here(), mark, api)
        workers = ClusterWorkers(runner, alone=api in LOCAL)
        try:
            client.register_plugin(fit)
            yield workers
        except BaseException as error:
            workers.end()
            if any(isinstance(one, distributed.KilledWorker) for one in causes(error)):
                raise WorkerError(f"too many Dask workers were lost: {error}; see their logs") from error
            raise
        finally:
            # A worker's last logs and events are on their way, to a server that may end with this run.
            with suppress(OSError, MnistError, RuntimeError):
                client.run(drain)
            client.unregister_worker_plugin(fit.name)


def connected(runner: DaskTaskRunner, address: str) -> distributed.Client:
    """The client of a cluster that has a worker.

    Raises:
        WorkerError: there is no scheduler, or no worker.
    """
    try:
        client = runner.client
    except OSError as error:
        raise WorkerError(f"no Dask scheduler answers at {address}: start it, or give another --runner") from error
    try:
        client.wait_for_workers(1, timeout=JOIN_SECONDS)
    except TimeoutError as error:
        raise WorkerError(f"the Dask cluster at {address} has no worker: start one, with --nthreads 1") from error
    return client


@contextmanager
def marked(root: Root) -> Iterator[Root]:
    """A file under the root that only who has the same root can see."""
    mark = root / "locks" / f"cluster-{os.getpid()}-{uuid.uuid4().hex}"
    if isinstance(mark, Path):
        mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(b"")
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
