"""On Dask: the workers of a Dask cluster. One that joins while a run goes on is asked whether it fits, as the others are.

Whoever reaches a scheduler can run code on its workers, and what they send back is unpickled. With TLS, each side shows a
certificate; Dask's own configuration says where ours lies.
"""

import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import distributed
from distributed.diagnostics.plugin import WorkerPlugin
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from flows.runners.base import Workers, api_url, configure_threads, terminate_on_error
from flows.runners.cluster import ClusterWorkers
from flows.runners.compatibility import EnvironmentFingerprint, incompatibilities, probe_file
from flows.server.local_server import LOCAL, drain
from tasks.errors import InputError, MnistError, WorkerError
from tasks.safety.environment import apply_number_settings
from tasks.storage.backend import Root

_CONNECT_SECONDS = 10
_JOIN_SECONDS = 30  # in which a first worker must be there


class CompatibilityCheck(WorkerPlugin):  # type: ignore[misc]  # no types are published
    """Looks whether a worker fits a flow, and makes it ready."""

    def __init__(self, common: EnvironmentFingerprint, mark: Root, api: str) -> None:
        self.name = f"mnist-{uuid.uuid4().hex}"
        self.common, self.mark, self.api = common, mark, api

    def setup(self, worker: Any) -> None:
        """Refuse a worker that does not fit.

        Raises:
            WorkerError: it has other code or libraries, more than one thread, or no way to the root or the API.
        """
        apply_number_settings(self.common.surroundings)
        for fault in incompatibilities(self.common, self.mark, self.api, worker.state.nthreads):
            raise WorkerError(f"the Dask worker {worker.address} {fault}")
        configure_threads(threads=1)  # as many trainings at once as there are workers


class DaskWorkers(ClusterWorkers):
    """The workers of a Dask cluster."""

    known = PrefectDaskFuture

    def withdraw(self, futures: list[Any]) -> None:
        """Withdraw what was not begun."""
        runner: Any = self.runner
        runner.client.cancel(futures)


@contextmanager
def dask_workers(address: str, root: Root) -> Iterator[Workers]:
    """The workers of the cluster whose scheduler answers at HOST:PORT, or, encrypted, at tls://HOST:PORT.

    Raises:
        InputError: there is no certificate to show.
        WorkerError: there is none, a worker does not fit, or too many were lost.
    """
    if address.startswith("tls://"):
        _check_certificate()
    api = api_url()
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": _CONNECT_SECONDS})
    with runner, probe_file(root) as mark:
        client = connect_to_dask(runner, address)
        fit = CompatibilityCheck(EnvironmentFingerprint.here(), mark, api)
        workers = DaskWorkers(runner, alone=api in LOCAL)
        try:
            with terminate_on_error(
                workers,
                distributed.KilledWorker,
                lambda error: f"too many Dask workers were lost: {error}; see their logs",
            ):
                client.register_plugin(fit)
                yield workers
        finally:
            # A worker's last logs and events are on their way, to a server that may end with this run.
            with suppress(OSError, MnistError, RuntimeError):
                client.run(drain)
            client.unregister_worker_plugin(fit.name)


def _check_certificate() -> None:
    """Look whether Dask is configured with a certificate for this process.

    Raises:
        InputError: it is not, or can't read it.
    """
    names = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"
    try:
        found = distributed.Security().get_connection_args("client")["ssl_context"]
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"the runner tls:// can't read its certificate ({error}): see {names}") from error
    if found is None:
        raise InputError(f"the runner tls:// needs a certificate: set {names}, as deployments/certificates prints them")


def connect_to_dask(runner: DaskTaskRunner, address: str) -> distributed.Client:
    """The client of a cluster that has a worker.

    Raises:
        WorkerError: there is no scheduler, or no worker.
    """
    try:
        client = runner.client
    except OSError as error:
        hint = "" if address.startswith("tls://") else ", tls://HOST:PORT if it wants encryption"
        raise WorkerError(
            f"no Dask scheduler answers at {address}: start it, or give another --runner{hint}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_JOIN_SECONDS)
    except TimeoutError as error:
        raise WorkerError(f"the Dask cluster at {address} has no worker: start one, with --nthreads 1") from error
    return client
