"""Test which placeholders and settings of a job the worker rejects before Prefect reads anything for them."""

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseWorker

from flows.server.process_worker import Configuration, MnistWorker
from flows.server.vetting import HEARTBEAT, objections, wrong_configuration, wrong_placeholders

VARIABLE, VALUE = "MNIST_TEST_VALUE", "canary-of-the-environment"
BLOCK = {"$ref": {"block_document_id": "1"}}

Change = Callable[[dict[str, Any]], object]


def template(change: Change = lambda _: None) -> dict[str, Any]:
    """Return the job template of a new work pool, with a change."""
    made = copy.deepcopy(MnistWorker.get_default_base_job_template())
    change(made)
    return made


def configuration(change: Change = lambda _: None, **variables: Any) -> Configuration:
    """Return the configuration for a job template and job variables, without a server."""
    absent: Any = object()  # a client that can't be asked
    return asyncio.run(Configuration.from_template_and_values(template(change), variables, client=absent))


def job(**settings: Any) -> Change:
    return lambda made: made["job_configuration"].update(settings)


def default(name: str, value: Any) -> Change:
    return lambda made: made["variables"]["properties"][name].update(default=value)


def test_the_job_variables_of_the_projects_deployments_are_used() -> None:
    made = configuration(env={HEARTBEAT: "30"}, name="x", stream_output=False)
    assert made.differences() == {"env": {HEARTBEAT: "30"}, "name": "x", "stream_output": False}
    assert made._unusable == []


@pytest.mark.parametrize(
    ("change", "variables"),
    [
        (job(stream_output="x{{ $MNIST_TEST_VALUE }}"), {}),
        (job(working_dir="/x{{$MNIST_TEST_VALUE}}"), {}),
        (job(name="{{ {{ name }} }}"), {"name": "$MNIST_TEST_VALUE"}),
        (job(labels={"a": ["{{ prefect.blocks.secret.a }}"]}), {}),
        (job(labels={"a": "{{ prefect.variables.a }}"}), {}),
        (job(labels=BLOCK), {}),
        (default("name", "{{ $MNIST_TEST_VALUE }}"), {}),
        (default("labels", BLOCK), {}),
        (job(), {"name": "{{ $MNIST_TEST_VALUE }}"}),
        (job(), {"name": "{{ ctx.flow.name }}"}),
        (job(), {"env": {HEARTBEAT: "{{ $MNIST_TEST_VALUE }}"}}),
        (job(), {"labels.$ref.block_document_id": "1"}),
        (job(), {"labels.a.$ref": {"block_document_id": "1"}}),
    ],
)
def test_a_placeholder_that_reads_more_than_job_variables_is_refused(
    change: Change, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, VALUE)
    made = configuration(change, **variables)
    assert len(made._unusable) == 1, made._unusable
    assert "placeholder in" in made._unusable[0]
    assert made.differences() == {}
    assert VALUE not in made.model_dump_json()


def test_a_template_of_another_shape_has_no_placeholder() -> None:
    for odd in ({}, {"variables": [], "job_configuration": "x"}, {"variables": {"properties": {"a": "x"}}}):
        assert list(wrong_placeholders(odd, {})) == []


def test_a_setting_of_another_type_is_refused_without_its_value() -> None:
    made = configuration(stream_output="secret-of-a-deployment", labels={"a": [1]})
    assert made._unusable == [
        "its 'labels.a' is not valid (string_type)",
        "its 'stream_output' is not valid (bool_parsing)",
    ]


def test_no_reason_for_a_refusal_contains_a_value(tmp_path: Path) -> None:
    none = dict.fromkeys(("storage_document_id", "infrastructure_document_id"))
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": VALUE}}]
    deployment: Any = SimpleNamespace(entrypoint=VALUE, path=VALUE, pull_steps=steps, **none)
    asked = {"command": VALUE, "env.A": VALUE, "env": {"B": VALUE, HEARTBEAT: VALUE}}
    reasons = [*objections(deployment, asked, {"runner": VALUE}, tmp_path, ()), *wrong_configuration({"env": VALUE})]
    assert len(reasons) == 9
    assert VALUE not in str(reasons)


@pytest.mark.parametrize("value", ["0000000309999999999999", "00030", "29", "3601", ""])
def test_a_heartbeat_interval_has_at_most_four_digits(value: str) -> None:
    assert list(wrong_configuration({"env": {HEARTBEAT: value}})) == [f"its {HEARTBEAT} is not 30 to 3600"]


def test_a_crashed_state_of_the_worker_has_one_line_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    proposed: list[str] = []

    async def propose(_self: object, _flow_run: object, message: str, _client: object = None) -> None:
        proposed.append(message)

    monkeypatch.setattr(BaseWorker, "_propose_crashed_state", propose)
    said = "Failed: 1 error at https://me:s3cret@host/\nworking_dir\n  [input_value='canary']"
    asyncio.run(MnistWorker("mnist").crash(FlowRun(id=uuid4(), flow_id=uuid4()), said))
    assert proposed == ["Failed: 1 error at https://***@host/"]
