"""Flow runs in Prefect's history that belong to the runs of a root.

A run's record holds the id of its flow run. After `mnist prune` has removed runs, this module removes their flow runs.

Prefect's own vacuum service (PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED) selects flow runs by age only, across all
projects of a server. This module removes a flow run by its id. Prefect deletes its task runs, states and logs together
with the flow run. Its artifacts are deleted first, one by one, so that Prefect keeps its list of the latest artifacts
correct.
"""
# ruff: noqa: PLC0415  # late imports: a root with nothing to remove needs no client

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.server.database import database_file, remove_events_and_logs, row_ids
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
    from prefect.client.schemas.objects import FlowRun as PrefectFlowRun

_BATCH = 50  # flow runs, or artifacts with their data, for each request


def current_flow_run(root: Root) -> FlowRun | None:
    """Return the current flow run, for the record of a run under a root; None outside of a flow run."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    return describe_flow_run(context.flow_run, str(root))


def describe_flow_run(flow_run: "PrefectFlowRun", root: str) -> FlowRun:
    """Return the facts of a flow run that belong in the record of a run under a root."""
    return FlowRun(
        id=flow_run.id,
        flow=flow_run.flow_id,
        at=_place_of_history(),
        root=root,
        ui=_users_ui(),
        tags=tuple(flow_run.tags),
    )


def _place_of_history() -> str:
    """Return the place of this process's history: the API of the user's server, otherwise the local database."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    if url := _users_server():
        return redact(public_address(url))
    file = database_file()
    return redact(str(file.absolute()) if file else public_address(PREFECT_API_DATABASE_CONNECTION_URL.value() or ""))


def _users_ui() -> str:
    """Return the address of the UI of the user's server, without secrets; empty if local servers are used."""
    from prefect.settings import get_current_settings

    return public_address(get_current_settings().ui_url or "") if _users_server() else ""


def _users_server() -> str | None:
    """Return the API URL of the user's server; None if local servers are used."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    return url if url and url not in LOCAL else None


def _local_file() -> Path | None:
    """Return the database file of the local servers, which can be read without a server.

    None if the user's server is used, or if the database is not a file.
    """
    return None if _users_server() else database_file()


def removable_flow_runs(noted: Collection[FlowRun]) -> Cleared:
    """Count the flow runs that a removal would delete.

    A user's server is not queried; all recorded flow runs count there.
    """
    file = _local_file()
    if not noted or not file:
        return Cleared(flow_runs=len(noted))
    try:
        return Cleared(flow_runs=len({one.id for one in noted} & row_ids(file, "flow_run")))
    except sqlite3.Error as error:
        return Cleared(flow_runs=0, left=len(noted), why=f"{file}: {error}")


def clear_history(root: Root) -> Cleared:
    """Remove the flow runs that are noted under a root from Prefect's history.

    Flow runs that can't be removed now stay noted.

    Raises:
        StorageError: If a note can't be written or removed.
    """
    noted = pending_flow_runs(root)
    if not noted:
        return Cleared(flow_runs=0)
    try:
        done, count, why = _remove_history(noted)
    except Exception as error:  # noqa: BLE001  # any error of a server or database: the files are gone, the notes stay
        return Cleared(flow_runs=0, left=len(noted), why=reason(error))
    forget_flow_runs(root, done)
    return Cleared(flow_runs=count, left=len(noted) - len(done), why=why)


def _remove_history(noted: Collection[FlowRun]) -> tuple[set[FlowRun], int, str]:
    """Remove flow runs from Prefect's history.

    Returns:
        The flow runs that the history no longer contains, the number of flow runs that this call removed, and the
        reason why the others remain.
    """
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName

    from flows.processes.log_filters import mask_prefect_settings

    mask_prefect_settings()
    file, place = _local_file(), _place_of_history()
    ours = FlowFilter(name=FlowFilterName(any_=list(FLOW_NAMES)))
    unfinished: set[UUID] = set()
    count = 0
    if file is None or {one.id for one in noted} & row_ids(file, "flow_run"):
        with _client_of_history() as client:
            flows = {flow.id for flow in client.read_flows(flow_filter=ours)}
            unfinished, count = remove_flow_runs(client, [one.id for one in noted if one.flow in flows])
    else:
        flows = row_ids(file, "flow")
    done = {one for one in noted if one.id not in unfinished and (one.flow in flows or one.at == place)}
    if file and file.exists():
        remove_events_and_logs(file, {one.id for one in done})
    why = [f"some are not finished: cancel or delete them at {place}"] if unfinished else []
    if elsewhere := sorted({one.at for one in noted if one not in done and one.id not in unfinished}):
        why.append(f"set PREFECT_API_URL or PREFECT_HOME to the history that holds them: {', '.join(elsewhere)}")
    return done, count, "; ".join(why)


@contextmanager
def _client_of_history() -> Iterator["SyncPrefectClient"]:
    """Yield a client of the user's server, otherwise of a temporary local server."""
    from prefect.client.orchestration import get_client

    with (
        nullcontext() if _users_server() else local_server() as early,
        server(early) as api,
    ):
        api.wait()
        with get_client(sync_client=True) as client:
            yield client


def remove_flow_runs(client: "SyncPrefectClient", identities: Collection[UUID]) -> tuple[set[UUID], int]:
    """Remove finished flow runs with everything that belongs to them.

    Returns:
        The ids of the flow runs that remain because they are not finished, and the number of removed flow runs.
    """
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
            with suppress(ObjectNotFound):  # another process has deleted it
                client.delete_flow_run(run.id)
            count += 1
    return unfinished, count


def _remove_artifacts(client: "SyncPrefectClient", flow_run: UUID) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.exceptions import ObjectNotFound

    theirs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
    while found := client.read_artifacts(artifact_filter=theirs, limit=_BATCH, offset=0):
        for artifact in found:
            with suppress(ObjectNotFound):
                client.delete_artifact(artifact.id)
