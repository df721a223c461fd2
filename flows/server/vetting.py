"""Vetting of flow runs: a worker runs the project's flows with its own command, and nothing else.

The checks cover a flow run's deployment, parameters and job configuration, all of which come from the API. They return
the reasons to reject the flow run. A setting that is not explicitly allowed here is rejected, including those that a
later version of Prefect may add. The reasons name settings and never repeat a value, because everyone who can reach the
API can read them.
"""

import os
import re
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
# A whole value of a job template that Prefect replaces by a job variable. Placeholders with a `$` read the environment.
_JOB_VARIABLE = re.compile(r"\{\{\s*(?!prefect\.(blocks|variables)\.)[\w.\-\[\]]+\s*\}\}")
_REFERENCE = "$ref"  # key of a mapping that Prefect replaces by a block
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
        yield f"its entry point is not {' or '.join(ENTRY_POINTS)}"
    for what in ("path", "storage_document_id", "infrastructure_document_id"):
        if getattr(deployment, what, None):
            yield f"its deployment has a {what}"
    yield from _wrong_steps(deployment.pull_steps or [], folder)
    yield from wrong_configuration(asked)
    runner = parameters.get("runner", PROCESS)
    if runner != PROCESS and runner not in tuple(runners):  # the value may have any type
        yield "its runner is not allowed here: start the worker with --allow-runner"


def _wrong_steps(steps: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    """Yield objections to pull steps other than the step that `prefect deploy` writes for the worker's own folder."""
    for step in steps:
        if set(step) != {WORKING_DIRECTORY}:
            yield f"its pull step {shorten_value(next(iter(step), None))} would run code"
            continue
        options = step[WORKING_DIRECTORY]
        directory = options.get("directory") if isinstance(options, dict) and len(options) == 1 else None
        if not isinstance(directory, str) or os.path.realpath(directory) != os.path.realpath(folder):
            yield f"its pull step sets a working directory other than the worker's, {folder}: deploy again from there"


def wrong_configuration(asked: Mapping[str, Any]) -> Iterator[str]:
    """Yield objections to job settings, `env.NAME` included, that are neither harmless nor the heartbeat interval."""
    for name, value in asked.items():
        first, _, rest = name.partition(".")
        if first == "env":
            variables = {rest: value} if rest else value
            if not isinstance(variables, Mapping):
                yield "its env is not a mapping"
                continue
            yield from (_wrong_variable(one) for one, given in variables.items() if not _is_heartbeat(one, given))
        elif name not in _HARMLESS:
            yield f"it sets {shorten_value(name)}"


def _is_heartbeat(name: str, value: object) -> bool:
    """Return whether a variable is the heartbeat interval with an allowed value."""
    text = str(value)
    return (
        name == HEARTBEAT and text.isascii() and text.isdigit() and len(text) <= 4 and int(text) in _HEARTBEAT_SECONDS
    )


def _wrong_variable(name: str) -> str:
    if name == HEARTBEAT:
        return f"its {HEARTBEAT} is not 30 to 3600"
    return f"it sets the environment variable {shorten_value(name)}"


def wrong_placeholders(template: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[str]:
    """Yield objections to placeholders in a raw job template and in raw job variables.

    Prefect's placeholders can read the worker's environment, and the blocks and variables of the server. Only the job
    template may contain placeholders: `{{ NAME }}`, as a whole value, for a job variable. Therefore, no expansion
    results in another placeholder.

    Args:
        template: Job template of the work pool.
        variables: Job variables of the deployment and the flow run.
    """
    properties = _mapping(_mapping(template.get("variables")).get("properties"))
    defaults = {name: _mapping(one).get("default") for name, one in properties.items()}
    for name, value in _mapping(template.get("job_configuration")).items():
        if any(_has_braces(text) and not _JOB_VARIABLE.fullmatch(text) for text in _texts({name: value})):
            yield f"its job template has a placeholder in {shorten_value(name)}"
    for place, values in (("the default of", defaults), ("the job variable", variables)):
        for name, value in values.items():
            if any(_has_braces(text) for text in _texts({name: value})):
                yield f"it has a placeholder in {place} {shorten_value(name)}"


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a value if it is a mapping, otherwise an empty mapping."""
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> Iterator[str]:
    """Yield all texts in a JSON value, and a placeholder for each key that refers to a block."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if _REFERENCE in str(name).split("."):  # Prefect makes a nested mapping from a name with dots
                yield "{{}}"
            yield from _texts(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _texts(one)


def _has_braces(text: str) -> bool:
    """Return whether a text contains a placeholder or part of one."""
    return "{{" in text or "}}" in text
