"""Vetting of flow runs: a worker runs the project's flows with its own command, and nothing else.

The checks cover a flow run's deployment, parameters and job configuration, all of which come from the API. They return
the reasons to reject the flow run. A setting that is not explicitly allowed here is rejected, including those that a
later version of Prefect may add.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.config.toml_loader import shorten_value

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.responses import DeploymentResponse

FLOW_NAMES = ("mnist", "study")  # each flow has the name of its module
ENTRY_POINTS = {f"flows.{name}.{name}": name for name in FLOW_NAMES}
_HARMLESS = {"labels", "name", "stream_output"}  # job variables without influence on the code that runs
HEARTBEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
_HEARTBEAT_SECONDS = range(30, 3601)  # Prefect rejects less; with more, a silent run stays undetected
WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"
PROCESS = "process"
RUNNERS = "MNIST_RUNNERS"  # variable of a worker and its runs: the clusters that a run may use
DEPLOY_FOLDER = "MNIST_DEPLOY_FOLDER"  # variable of `prefect deploy` called elsewhere: the working directory of runs


def flow_of(name: str) -> "Flow[..., Any]":
    """Import one of the project's flows by its name."""
    return cast("Flow[..., Any]", getattr(import_module(f"flows.{name}"), name))


def objections(
    deployment: "DeploymentResponse | None",
    asked: Mapping[str, Any],
    parameters: Mapping[str, Any],
    folder: Path,
    runners: Collection[str],
) -> Iterator[str]:
    """Yield the reasons why a worker must not run a flow run.

    `asked` holds the settings of the job configuration that differ from Prefect's defaults, and `runners` the clusters
    that the worker may use.
    """
    if deployment is None:
        yield "it has no deployment"
        return
    if deployment.entrypoint not in ENTRY_POINTS:
        yield f"its entry point is {shorten_value(deployment.entrypoint)}, not {' or '.join(ENTRY_POINTS)}"
    for what in ("path", "storage_document_id", "infrastructure_document_id"):
        if value := getattr(deployment, what, None):
            yield f"its deployment has a {what}: {shorten_value(value)}"
    yield from _wrong_steps(deployment.pull_steps or [], folder)
    yield from wrong_configuration(asked)
    runner = parameters.get("runner", PROCESS)
    if runner != PROCESS and runner not in tuple(runners):  # the value may have any type
        yield f"its runner {shorten_value(runner)} is not allowed here: start the worker with --allow-runner"


def _wrong_steps(steps: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Yield objections to pull steps other than the step that `prefect deploy` writes for the worker's own folder."""
    for step in steps:
        if set(step) != {WORKING_DIRECTORY}:
            yield f"its pull step {shorten_value(next(iter(step), None))} would run code"
            continue
        options = step[WORKING_DIRECTORY]
        directory = options.get("directory") if isinstance(options, dict) and len(options) == 1 else None
        if not isinstance(directory, str) or os.path.realpath(directory) != os.path.realpath(folder):
            yield f"its pull step sets the working directory {shorten_value(directory)}, not {folder}: deploy again from there"


def wrong_configuration(asked: Mapping[str, Any]) -> Iterator[str]:
    """Yield objections to job settings, `env.NAME` included, that are neither harmless nor the heartbeat interval."""
    for name, value in asked.items():
        first, _, rest = name.partition(".")
        if first == "env":
            variables = {rest: value} if rest else value
            if not isinstance(variables, Mapping):
                yield f"its env is {shorten_value(value)}, not a mapping"
                continue
            yield from (_wrong_variable(*one) for one in variables.items() if not _is_heartbeat(*one))
        elif name not in _HARMLESS:
            yield f"it sets {shorten_value(name)} to {shorten_value(value)}"


def _is_heartbeat(name: str, value: object) -> bool:
    """Return whether a variable is the heartbeat interval with an allowed value."""
    text = str(value)
    return name == HEARTBEAT and text.isascii() and text.isdigit() and int(text[:9]) in _HEARTBEAT_SECONDS


def _wrong_variable(name: str, value: object) -> str:
    if name == HEARTBEAT:
        return f"its {HEARTBEAT} is {shorten_value(value)}, not 30 to 3600"
    return f"it sets the environment variable {shorten_value(name)}"  # the value may be a secret
