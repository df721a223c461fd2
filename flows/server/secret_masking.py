"""Credentials: keep the secrets of a run's parameters out of what Prefect stores.

Prefect writes parameters into its database, and shows them in its UI and by its API. The command hands it public addresses
and remembers what they stand for, which only its own process needs. A run that was started otherwise brings its parameters
from there: it is warned about, and what Prefect holds of this run is replaced. Mirrors with secrets
belong into a data set's file.
"""

import logging
import os
from contextlib import suppress
from typing import Any

from tasks.engine.run_log import log
from tasks.safety.address import hide
from tasks.safety.redaction import add_secret, environment_secrets, redact_all_output


def learn_settings() -> None:
    """Mask the secrets of Prefect's settings, from profiles, too, in all that this process prints and logs."""
    from prefect.settings import get_current_settings  # noqa: PLC0415  # before Prefect is imported, there are none

    redact_all_output()
    with suppress(Exception):  # a setting that can't be read is Prefect's to complain about
        known = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
        add_secret(*environment_secrets({name: value for name, value in known.items() if name not in os.environ}))


def keep_out_of_prefect() -> None:
    """Replace the secrets in the parameters of the flow run under way, as Prefect's server holds them, and warn of them."""
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
    log(
        f"the parameter {names} holds credentials, which Prefect's server has stored; they are masked there now, but belong "
        "into a data set's file on the worker's machine",
        logging.WARNING,
    )
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, parameters=public).raise_for_status()
    except Exception as error:  # noqa: BLE001  # whatever the server answers: the run itself can go on
        log(f"they could not be masked: {type(error).__name__}", logging.WARNING)
