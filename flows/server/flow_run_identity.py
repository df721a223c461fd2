"""The name and the tags of the current flow run, which are the same under the root and in Prefect.

Prefect calls `current_run_name` before a flow starts. While the flow runs, `identify_run` claims the name under the
root, because runs of several servers can share a root.
"""
# ruff: noqa: PLC0415  # late imports: `flows.config` must not import Prefect

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.history.run_store import claim_run_name
from tasks.schemas.names import run_name


def scheduled_time() -> datetime:
    """Return the time for which the current run of Prefect was scheduled; retries do not change it."""
    from prefect.runtime import flow_run

    return cast("datetime", flow_run.scheduled_start_time)


def current_run_name() -> str:
    """Return the name of the current run, made of the name that a user or Prefect gave to the flow run."""
    from prefect.runtime import flow_run

    return run_name(flow_run.name or "", scheduled_time())


def identify_run(work: Workspace, tags: Sequence[str]) -> Workspace:
    """Return the workspace with a name that no other run under the root has, and give the flow run this name and tags.

    The flow run keeps the tags that it has.

    Raises:
        StorageError: If the name can't be claimed.
    """
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return work
    flow_run = context.flow_run
    name = claim_run_name(work.root, work.run, flow_run.id)
    if name != work.run:
        log(f"this run is named {name}, because {work.root} has another run {work.run}")
    all_tags = list(dict.fromkeys((*flow_run.tags, *tags)))
    if (name, all_tags) != (flow_run.name, flow_run.tags):
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, name=name, tags=all_tags).raise_for_status()
        flow_run.name, flow_run.tags = name, all_tags  # Prefect's hooks and the record of the run read them
    return work.model_copy(update={"run": name})
