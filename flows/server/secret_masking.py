"""Masking of credentials: keep the secrets of a run's parameters out of Prefect's storage.

Prefect writes parameters into its database, and shows them in its UI and API. The `mnist` command passes public
addresses to Prefect and remembers the full addresses, which only its own process needs. A run that was started in
another way receives its parameters from Prefect. Such a run logs a warning, and the parameters in Prefect's database
are replaced. The secrets of mirrors belong in a dataset file.
"""

import logging
from typing import Any

from tasks.engine.run_log import log
from tasks.safety.address import hide


def keep_secrets_out_of_prefect() -> None:
    """Replace the secrets in the current flow run's parameters on Prefect's server, then log a warning."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.context import FlowRunContext  # noqa: PLC0415

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    given: dict[str, Any] = dict(context.flow_run.parameters)
    public = hide(given)
    if public == given:
        return
    names = ", ".join(name for name in given if public[name] != given[name])
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, parameters=public).raise_for_status()
        outcome = "they are masked there now"
    except Exception as error:  # noqa: BLE001  # any answer of the server: the run itself can continue
        outcome = f"they could not be masked there: {type(error).__name__}"
    log(
        f"Prefect's server had stored credentials from the parameter {names}; {outcome}; put credentials into a dataset "
        "file on the worker's machine instead",
        logging.WARNING,
    )
