"""Workers of a Dask cluster; a worker that joins during a run is checked for compatibility like the others.

Any client of a scheduler can run code on its workers, and the results of workers are unpickled. With TLS, each side
presents a certificate; Dask's own configuration contains the path of this side's certificate.
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
_JOIN_SECONDS = 30  # for the first worker to join


class CompatibilityCheck(WorkerPlugin):  # type: ignore[misc]  # the package has no type annotations
    """A plugin that checks whether a worker is compatible with a flow, and configures the worker."""

    def __init__(self, common: EnvironmentFingerprint, mark: Root, api: str) -> None:
        self.name = f"mnist-{uuid.uuid4().hex}"
        self.common, self.mark, self.api = common, mark, api

    def setup(self, worker: Any) -> None:
        """Check and configure a worker.

        Raises:
            WorkerError: If the worker has other code or libraries, more than one thread, or no access to the root or
                the API.
        """
        apply_number_settings(self.common.environment)
        for fault in incompatibilities(self.common, self.mark, self.api, worker.state.nthreads):
            raise WorkerError(f"the Dask worker {worker.address} {fault}")
        configure_threads(threads=1)  # each worker runs one training at a time


class DaskWorkers(ClusterWorkers):
    """The workers of a Dask cluster."""

    known = PrefectDaskFuture

    def cancel(self, futures: list[Any]) -> None:
        """Cancel the futures that have not started."""
        runner: Any = self.runner
        runner.client.cancel(futures)


@contextmanager
def dask_workers(address: str, root: Root) -> Iterator[Workers]:
    """Connect to a Dask cluster and yield its workers.

    The scheduler answers at HOST:PORT, or with encryption at tls://HOST:PORT.

    Raises:
        InputError: If there is no certificate for TLS.
        WorkerError: If there is no cluster, a worker is not compatible, or too many workers were lost.
    """
    if address.startswith("tls://"):
        _check_certificate()
    api = api_url()
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": _CONNECT_SECONDS})
    with runner, probe_file(root) as mark:
        client = connect_to_dask(runner, address)
        fit = CompatibilityCheck(EnvironmentFingerprint.here(), mark, api)
        workers = DaskWorkers(runner, exclusive_server=api in LOCAL)
        try:
            with terminate_on_error(
                workers,
                distributed.KilledWorker,
                lambda error: f"too many Dask workers were lost: {error}; see their logs",
            ):
                client.register_plugin(fit)
                yield workers
        finally:
            # The server may end with this run, so the workers must send their last logs and events now.
            with suppress(OSError, MnistError, RuntimeError):
                client.run(drain)
            client.unregister_worker_plugin(fit.name)


def _check_certificate() -> None:
    names = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"
    try:
        found = distributed.Security().get_connection_args("client")["ssl_context"]
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"the runner tls:// can't read its certificate ({error}): check {names}") from error
    if found is None:
        raise InputError(f"the runner tls:// needs a certificate: set {names}, as deployments/certificates prints them")


def connect_to_dask(runner: DaskTaskRunner, address: str) -> distributed.Client:
    """Return the client of a cluster that has at least one worker.

    Raises:
        WorkerError: If there is no scheduler, or no worker joins in time.
    """
    try:
        client = runner.client
    except OSError as error:
        hint = "" if address.startswith("tls://") else ", such as tls://HOST:PORT if it requires encryption"
        raise WorkerError(
            f"no Dask scheduler answers at {address}: start it, or give another --runner{hint}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_JOIN_SECONDS)
    except TimeoutError as error:
        raise WorkerError(f"the Dask cluster at {address} has no worker: start one, with --nthreads 1") from error
    return client
