"""History: the flow runs that Prefect's database has of a root's runs, and their removal once `mnist prune` has removed these.

Prefect's own clean-up (PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED) goes by age alone, for all projects of a server. Here, a flow
run is removed by its id, which the record of its run has. Its task runs, states and logs go with it; its artifacts are removed
before, one by one, so that Prefect keeps the list of the latest ones right.
"""
# ruff: noqa: PLC0415  # a root without anything to remove needs no client

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.server.database import database_file, ids_in, remove_remains
from flows.server.local_server import LOCAL, local_server, server
from flows.server.vetting import FLOW_NAMES
from tasks.engine.optional_parts import reason
from tasks.history.flow_runs import forget_flow_runs, pending_flow_runs
from tasks.safety.redaction import public_address, redact
from tasks.schemas.results import Cleared
from tasks.schemas.runs import FlowRun
from tasks.storage.backend import Root

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_BATCH = 50  # flow runs, or artifacts with all that they hold, asked for at once


def flow_run_under_way(root: Root) -> FlowRun | None:
    """The flow run that this is called in, for the record of a run under a root; None where there is none."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    return FlowRun(id=context.flow_run.id, flow=context.flow_run.flow_id, at=_place_of_history(), root=str(root))


def _place_of_history() -> str:
    """Where this process's runs are remembered: the API of the user's server, else the database of the local ones."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    if url := _users_server():
        return redact(public_address(url))
    file = database_file()
    return redact(str(file.absolute()) if file else public_address(PREFECT_API_DATABASE_CONNECTION_URL.value() or ""))


def _users_server() -> str | None:
    """The API of the user's server; None if local servers are used."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    return url if url and url not in LOCAL else None


def _local_file() -> Path | None:
    """The database of local servers, where these are used and it is a file: it can be looked into without a server."""
    return None if _users_server() else database_file()


def removable_flow_runs(noted: Collection[FlowRun]) -> Cleared:
    """How many flow runs would go: at a user's server, which is not asked, all that are recorded."""
    file = _local_file()
    if not noted or not file:
        return Cleared(flow_runs=len(noted))
    try:
        return Cleared(flow_runs=len({one.id for one in noted} & ids_in(file, "flow_run")))
    except sqlite3.Error as error:
        return Cleared(flow_runs=0, left=len(noted), why=f"{file}: {error}")


def clear_history(root: Root) -> Cleared:
    """Remove the flow runs that are noted under a root from Prefect's history; what can't be removed now stays noted.

    Raises:
        StorageError: A note can't be written or removed.
    """
    noted = pending_flow_runs(root)
    if not noted:
        return Cleared(flow_runs=0)
    try:
        done, count, why = _remove_history(noted)
    except Exception as error:  # noqa: BLE001  # whatever a server or a database says: the files have gone, and the notes stay
        return Cleared(flow_runs=0, left=len(noted), why=reason(error))
    forget_flow_runs(root, done)
    return Cleared(flow_runs=count, left=len(noted) - len(done), why=why)


def _remove_history(noted: Collection[FlowRun]) -> tuple[set[FlowRun], int, str]:
    """The flow runs that the history has no more, how many have just gone, and why the others stay.

    Raises:
        ServerError: The server does not answer.
        sqlite3.Error: The database can't be read or written.
    """
    file, place = _local_file(), _place_of_history()
    unfinished: set[UUID] = set()
    count = 0
    if file is None or {one.id for one in noted} & ids_in(file, "flow_run"):
        with _client_of_history() as client:
            flows = _flows_at(client)
            unfinished, count = remove_flow_runs(client, [one.id for one in noted if one.flow in flows])
    else:
        flows = ids_in(file, "flow")
    done = {one for one in noted if one.id not in unfinished and (one.flow in flows or one.at == place)}
    if file and file.exists():
        remove_remains(file, {one.id for one in done})
    why = [f"Prefect has some as not finished: cancel or delete them at {place}"] if unfinished else []
    if elsewhere := sorted({one.at for one in noted if one not in done and one.id not in unfinished}):
        why.append(f"set PREFECT_API_URL, or PREFECT_HOME, to where they are: {', '.join(elsewhere)}")
    return done, count, "; ".join(why)


@contextmanager
def _client_of_history() -> Iterator["SyncPrefectClient"]:
    """A client of the user's server, else of a temporary one.

    Raises:
        ServerError: It does not answer.
    """
    from prefect.client.orchestration import get_client

    with (
        nullcontext() if _users_server() else local_server() as early,
        server(early) as api,
    ):
        api.wait()
        with get_client(sync_client=True) as client:
            yield client


def _flows_at(client: "SyncPrefectClient") -> set[UUID]:
    """The ids that the project's flows have in a history."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    return {flow.id for flow in client.read_flows(flow_filter=FlowFilter(name=FlowFilterName(any_=list(FLOW_NAMES))))}


def remove_flow_runs(client: "SyncPrefectClient", identities: Collection[UUID]) -> tuple[set[UUID], int]:
    """Remove flow runs with all that belongs to them: which ones stay, since they are not finished, and how many have gone."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.exceptions import ObjectNotFound

    unfinished: set[UUID] = set()
    count = 0
    asked = iter(identities)
    while batch := list(islice(asked, _BATCH)):
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=batch)), limit=_BATCH):
            if run.state is None or not run.state.is_final():
                unfinished.add(run.id)
                continue
            _remove_artifacts(client, run.id)
            with suppress(ObjectNotFound):  # another process was first
                client.delete_flow_run(run.id)
            count += 1
    return unfinished, count


def _remove_artifacts(client: "SyncPrefectClient", flow_run: UUID) -> None:
    """Remove the artifacts of a flow run."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.exceptions import ObjectNotFound

    theirs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
    while found := client.read_artifacts(artifact_filter=theirs, limit=_BATCH, offset=0):
        for artifact in found:
            with suppress(ObjectNotFound):
                client.delete_artifact(artifact.id)
