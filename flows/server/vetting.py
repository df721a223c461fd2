"""Vetting: what a flow run may ask of a worker. The worker runs the project's flows with its own command, and nothing else.

In: a flow run's deployment, parameters, and job configuration, all of which come from the API. Out: the reasons to refuse them.
Everything is refused that is not listed here, so that what a later version of Prefect adds is refused as well.
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

FLOW_NAMES = ("mnist", "study")  # of the flows; a flow has its module's name
ENTRY_POINTS = {f"flows.{name}.{name}": name for name in FLOW_NAMES}
_HARMLESS = {"labels", "name", "stream_output"}  # job variables that say nothing about what runs
HEARTBEAT = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
_HEARTBEAT_SECONDS = range(30, 3601)  # Prefect refuses fewer; with more, nobody learns of a run that fell silent
WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"
PROCESS = "process"
RUNNERS = "MNIST_RUNNERS"  # the clusters that a run may use, in the environment of a worker and of its runs
DEPLOY_FOLDER = "MNIST_DEPLOY_FOLDER"  # where the runs work, in the environment of `prefect deploy` called elsewhere


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
    """Find what a worker must not run.

    Args:
        deployment: What the flow run was made from, if anything.
        asked: The job configuration as far as it differs from Prefect's defaults.
        parameters: The flow run's.
        folder: Where the worker works.
        runners: The clusters that it may use.
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
    if runner != PROCESS and runner not in tuple(runners):  # which may be of any type
        yield f"its runner {shorten_value(runner)} is not allowed here: start the worker with --allow-runner"


def _wrong_steps(steps: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Find pull steps other than the one that `prefect deploy` writes, which names the worker's own folder."""
    for step in steps:
        if set(step) != {WORKING_DIRECTORY}:
            yield f"its pull step {shorten_value(next(iter(step), None))} would run code"
            continue
        options = step[WORKING_DIRECTORY]
        directory = options.get("directory") if isinstance(options, dict) and len(options) == 1 else None
        if not isinstance(directory, str) or os.path.realpath(directory) != os.path.realpath(folder):
            yield f"its pull step sets the working directory {shorten_value(directory)}, not {folder}: deploy again from there"


def wrong_configuration(asked: Mapping[str, Any]) -> Iterator[str]:
    """Find settings of a job that are neither harmless nor the heartbeat's, `env.NAME` included."""
    for name, value in asked.items():
        first, _, rest = name.partition(".")
        if first == "env":
            variables = {rest: value} if rest else value
            if not isinstance(variables, Mapping):
                yield f"its env is {shorten_value(value)}"
                continue
            yield from (_wrong_variable(*one) for one in variables.items() if not _is_heartbeat(*one))
        elif name not in _HARMLESS:
            yield f"it sets {shorten_value(name)} to {shorten_value(value)}"


def _is_heartbeat(name: str, value: object) -> bool:
    """Whether a variable is the heartbeat's, with a value that makes sense."""
    text = str(value)
    return name == HEARTBEAT and text.isascii() and text.isdigit() and int(text[:9]) in _HEARTBEAT_SECONDS


def _wrong_variable(name: str, value: object) -> str:
    """What to say of an environment variable."""
    if name == HEARTBEAT:
        return f"its {HEARTBEAT} is {shorten_value(value)}, not 30 to 3600"
    return f"it sets the environment variable {shorten_value(name)}"  # the value may be a secret
