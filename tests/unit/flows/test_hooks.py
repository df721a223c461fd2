import logging
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Failed

from flows.hooks import notify_webhook
from tests.support.receiver import receiver


@flow(name="mnist")
def nothing() -> None:
    """Do nothing; the notifications are about this flow."""


def told(message: str = "the gate failed: plain is not promoted") -> None:
    run = cast("FlowRun", FlowRun.model_construct(id=uuid4(), flow_id=uuid4(), name="20261127-020000-nightly"))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):  # there is no server in this test
        notify_webhook(cast("Flow[..., Any]", nothing), run, Failed(message=message))


def test_a_failure_is_posted_with_what_a_person_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_UI_URL", "http://prefect.example")
    with receiver() as server:
        monkeypatch.setenv("MNIST_WEBHOOK", server.url)
        told()
    (body,) = server.received
    assert body["text"].startswith("mnist, 20261127-020000-nightly: Failed: the gate failed: plain is not promoted")
    assert (body["flow"], body["run"], body["state"]) == ("mnist", "20261127-020000-nightly", "Failed")
    assert body["url"] == f"http://127.0.0.1:4200/runs/flow-run/{body['run_id']}"
    assert body["text"].endswith(f" {body['url']}")
    assert body["message"] == "the gate failed: plain is not promoted"


def test_text_of_an_error_cannot_notify_a_channel_or_hide_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as server:
        monkeypatch.setenv("MNIST_WEBHOOK", server.url)
        told("<!channel> <https://host|a & b>")
    (body,) = server.received
    assert "&lt;!channel&gt; &lt;https://host|a &amp; b&gt;" in body["text"]
    assert body["message"] == "<!channel> <https://host|a & b>"


def test_without_an_address_nothing_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST_WEBHOOK", raising=False)
    with receiver() as server:
        told()
    assert server.received == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/hooks/s3cret", "no address", "{url}"])
def test_a_webhook_that_fails_is_a_warning_without_its_address(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(status=500) as server, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("MNIST_WEBHOOK", address.format(url=server.url))
        logger = logging.getLogger("prefect.flow_runs")
        logger.addHandler(caplog.handler)
        told()
        logger.removeHandler(caplog.handler)
    assert "the webhook in MNIST_WEBHOOK" in caplog.text
    assert "s3cret" not in caplog.text
