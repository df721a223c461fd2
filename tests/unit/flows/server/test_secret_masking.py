"""Test that secrets in a flow run's parameters are masked before the run says so."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client import orchestration
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from flows.processes.log_filters import mask_prefect_settings
from flows.server import secret_masking
from tasks.safety.redaction import redact

MIRROR = "https://user:pa55w0rd-of-the-mirror@mirror.example/mnist"


class Client:
    """A client that records the parameters that it sends, or fails."""

    def __init__(self, events: list[Any], error: Exception | None) -> None:
        self.events, self.error = events, error

    def update_flow_run(self, _flow_run: object, parameters: dict[str, Any]) -> SimpleNamespace:
        if self.error:
            raise self.error
        self.events.append(parameters)
        return SimpleNamespace(raise_for_status=lambda: None)


def masked(monkeypatch: pytest.MonkeyPatch, mirrors: list[str], error: Exception | None = None) -> list[Any]:
    """Return what is sent to the server and logged, in order."""
    events: list[Any] = []
    run = SimpleNamespace(id=uuid4(), parameters={"dataset": "mnist", "mirrors": mirrors})
    monkeypatch.setattr(FlowRunContext, "get", classmethod(lambda _: SimpleNamespace(flow_run=run)))
    monkeypatch.setattr(orchestration, "get_client", lambda **_: nullcontext(Client(events, error)))
    monkeypatch.setattr(secret_masking, "log", lambda line, _level: events.append(line))
    secret_masking.keep_secrets_out_of_prefect()
    return events


def test_credentials_are_masked_before_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, line = masked(monkeypatch, [MIRROR])
    assert "pa55w0rd" not in str(sent)
    assert "stored credentials from the parameter mirrors; they are masked there now;" in line


def test_a_server_that_does_not_mask_credentials_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = masked(monkeypatch, [MIRROR.replace("user", "other")], RuntimeError("HTTP 500"))
    assert "stored credentials from the parameter mirrors; they could not be masked there: RuntimeError;" in line


def test_parameters_without_credentials_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert masked(monkeypatch, ["https://mirror.example/mnist"]) == []


def test_the_secrets_of_a_prefect_profile_are_masked_once_they_are_learned() -> None:
    with temporary_settings({PREFECT_API_AUTH_STRING: "me:canary-of-a-profile"}):
        assert "canary-of-a-profile" in redact("canary-of-a-profile")
        mask_prefect_settings()
        assert redact("the password canary-of-a-profile") == "the password ***"


@pytest.mark.parametrize("module", ["cli/run", "cli/worker", "cli/serve", "server/flow_run_history", "server/serving",
                                    "server/execute", "processes/log_filters"])  # fmt: skip
def test_every_process_that_imports_prefect_learns_its_settings(module: str) -> None:
    source = Path(secret_masking.__file__).parents[1] / f"{module}.py"
    assert "mask_prefect_settings()" in source.read_text()
