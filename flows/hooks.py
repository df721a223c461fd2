"""State hooks of the flows: notify a webhook when a run fails or crashes, or when its gate rejects the model.

A notification is an HTTP POST to the address in MNIST_WEBHOOK; without that variable, nothing is sent. The address of a
webhook is a secret, so it is never logged.
"""

import html
import os
from typing import Any

import httpx
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.server.flow_run_history import describe_flow_run
from tasks.engine.optional_parts import optional
from tasks.errors import ServerError
from tasks.safety.redaction import redact
from tasks.safety.stopping import STOPPING

_SECONDS = 10.0  # the run is over, and a slow receiver must not delay the end of its process
_HURRY_SECONDS = 1.0  # the limit once this process has been asked to stop


def notify_webhook(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
    """Post the end of a flow run to the webhook as JSON.

    The field `text` is what Slack, Mattermost and similar services show; `&`, `<` and `>` are escaped in it, as they
    require.
    """
    address = os.environ.get("MNIST_WEBHOOK")
    if not address:
        return
    logger = flow_run_logger(flow_run)
    with optional("notification", [], say=lambda line, level: logger.log(level, line), over=True):
        _post_notification(address, _notification_body(flow, flow_run, state))


def _notification_body(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> dict[str, Any]:
    """Return the JSON body that describes the end of a run."""
    page = describe_flow_run(flow_run, root="").url
    message = redact(state.message or "")  # an error's message may hold secrets, and many people read a chat
    text = f"{flow.name}, {flow_run.name}: {state.name}: {message or 'no message'} {page}"
    return {
        "text": html.escape(text, quote=False),
        "flow": flow.name,
        "run": flow_run.name,
        "run_id": str(flow_run.id),
        "state": state.name,
        "message": message or None,
        "url": page,
    }


def _post_notification(address: str, body: dict[str, Any]) -> None:
    seconds = _HURRY_SECONDS if STOPPING.is_set() else _SECONDS
    try:
        httpx.post(address, json=body, timeout=seconds).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise ServerError(f"the webhook in MNIST_WEBHOOK returned HTTP {error.response.status_code}") from None
    except Exception as error:  # noqa: BLE001  # the message of any error may contain the address
        raise ServerError(f"the webhook in MNIST_WEBHOOK can't be reached: {type(error).__name__}") from None
