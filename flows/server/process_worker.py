"""Prefect's process worker, restricted to the project's flows, which it starts with commands of its own.

The API selects one of the flows and its parameters, and nothing else. The worker uses neither the deployment's pull
steps nor the job's command, working directory or environment, and it rejects a flow run that asks for others
(`flows.server.vetting`). Therefore, a change between the check and the start has no effect. Placeholders that read more
than job variables are rejected before Prefect replaces them.
"""

import asyncio
import os
import sys
from abc import ABC
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import anyio
import psutil
from anyio.abc import TaskStatus
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Flow as ApiFlow
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from pydantic import ConfigDict, PrivateAttr, ValidationError

from flows.processes import stop
from flows.processes.prefect_compat import WorkerHooks, one_line, run_command
from flows.server.vetting import ENTRY_POINTS, RUNNERS, flow_of, objections, wrong_configuration, wrong_placeholders
from tasks.config.toml_loader import shorten_value
from tasks.filesystem.trusted_files import UNATTENDED

_END_SECONDS = 10.0  # for runs to report their end to the server after their worker was told to end
_SECONDS_WITH_RUNS = 12.5  # from the first signal until the worker is ended if the server does not answer
_UNSET: tuple[Any, ...] = (None, "", {}, [])  # values that forms send for empty fields


class Configuration(ProcessJobConfiguration):
    """Prefect's job configuration, with a copy of the requested settings from before Prefect adds its own."""

    model_config = ConfigDict(extra="allow")  # keeps settings that this version of Prefect does not know, for the check

    _deployment: DeploymentResponse | None = PrivateAttr(default=None)
    _asked: dict[str, Any] = PrivateAttr(default_factory=dict)
    _unusable: list[str] = PrivateAttr(default_factory=list)  # reasons why this is not the requested configuration

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        """Return the configuration that a template and job variables result in.

        If a placeholder would read more than job variables, or if a setting is not valid, the configuration is empty,
        and the worker rejects the flow run. Prefect's own error would contain the values.
        """
        reasons = [*wrong_placeholders(base_job_template, values)]
        if not reasons:
            try:
                made: Self = await super().from_template_and_values(base_job_template, values, client=client)
            except ValidationError as error:
                reasons = [*_invalid_settings(error)]
            else:
                return made
        empty = cls()
        empty._unusable = reasons
        return empty

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: ApiFlow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Record the deployment and the requested settings, then let Prefect prepare the configuration."""
        self._deployment, self._asked = deployment, self.differences()
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)

    def differences(self) -> dict[str, Any]:
        """Return all settings that differ from Prefect's defaults."""
        unknown = {name: value for name, value in (self.model_extra or {}).items() if value not in _UNSET}
        fields = type(self).model_fields.items()
        known = {name: (getattr(self, name), field.get_default(call_default_factory=True)) for name, field in fields}
        changed = {name: value for name, (value, default) in known.items() if value != default} | unknown
        return {name: str(value) if isinstance(value, Path) else value for name, value in changed.items()}


# An ABC, so that Prefect does not register it in place of its own worker.
class MnistWorker(WorkerHooks, ProcessWorker, ABC):
    """A worker that runs the project's flows and rejects all other flow runs."""

    job_configuration = Configuration

    def __init__(self, work_pool_name: str, *, runners: Iterable[str] = (), **options: Any) -> None:
        super().__init__(work_pool_name, **options)
        self.runners, self.folder = frozenset(runners), Path.cwd()
        self.ending = False

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Submit the flow runs that are due, unless the worker is ending."""
        return [] if self.ending else await super().get_and_submit_flow_runs()

    async def end_runs(self) -> None:
        """Terminate all runs and wait for their end, at most 10 s.

        Prefect's worker would kill them before they could report their end to the server.
        """
        self.ending = True
        runs = psutil.Process().children()
        if runs:
            stop.ENDING.seconds = _SECONDS_WITH_RUNS
        for run in runs:
            with suppress(psutil.NoSuchProcess):
                run.terminate()
        with anyio.move_on_after(_END_SECONDS):
            while any(_is_alive(run) for run in runs):  # waiting for them would take their exit codes from asyncio
                await anyio.sleep(0.1)

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: TaskStatus[Any] | None = None
    ) -> ProcessWorkerResult:
        """Run one of the project's flows, or reject the flow run with a Crashed state that says why.

        Raises:
            RuntimeError: If the process of the flow run does not start.
        """
        status = task_status or anyio.TASK_STATUS_IGNORED
        assert isinstance(configuration, Configuration)  # noqa: S101  # `job_configuration` says so
        deployment = configuration._deployment  # noqa: SLF001
        if reasons := self.reasons(flow_run, configuration):
            return await self.refuse(flow_run, reasons, status)
        name = ENTRY_POINTS[deployment.entrypoint]  # type: ignore[union-attr,index]  # the check has passed

        async def resolve(ended: FlowRun) -> Flow[..., Any]:
            with suppress(Exception):  # the hooks then get the name that the flow run had before it started
                ended.name = (await self.client.read_flow_run(ended.id)).name
            return await anyio.to_thread.run_sync(flow_of, name)

        result = await run_command(
            command_of(name),
            flow_run,
            resolve_flow=resolve,
            status=status,
            cwd=self.folder,
            env=self.environment(configuration),
            stream_output=configuration.stream_output,
        )
        if result is None:
            raise RuntimeError("the process of the flow run did not start")
        return result

    def reasons(self, flow_run: FlowRun, configuration: Configuration) -> list[str]:
        """Return the reasons to reject a flow run.

        The reasons cover the settings that result from the template, the deployment and the job variables, and also the
        job variables that the template does not use.
        """
        deployment, asked = configuration._deployment, configuration._asked  # noqa: SLF001
        found = [*configuration._unusable]  # noqa: SLF001
        found += objections(deployment, asked, flow_run.parameters, self.folder, self.runners)
        for variables in (deployment.job_variables if deployment else {}, flow_run.job_variables or {}):
            given = {name: value for name, value in variables.items() if value not in _UNSET}
            found += [reason for reason in wrong_configuration(given) if reason not in found]
        return found

    async def refuse(self, flow_run: FlowRun, reasons: list[str], status: TaskStatus[Any]) -> ProcessWorkerResult:
        """Log why a flow run is rejected, put it into a Crashed state, and report it as not started."""
        line = one_line(f"rejected by the worker, which runs only the project's flows: {'; '.join(reasons)}")
        self.get_flow_run_logger(flow_run).error(line)
        await self.crash(flow_run, line)
        status.started(PermissionError(line))  # same report as Prefect's worker for a run that did not start
        return ProcessWorkerResult(status_code=0, identifier="refused")

    def environment(self, configuration: Configuration) -> dict[str, str | None]:
        """Return the environment of a flow run.

        It consists of this process's variables, those that Prefect adds, the allowed runners, and the flag of an
        unattended run. The heartbeat interval is the only variable that a flow run may set.
        """
        return {**configuration.env, RUNNERS: " ".join(sorted(self.runners)), UNATTENDED: "1"}


def command_of(name: str) -> list[str]:
    """Return the command that runs a flow.

    With `-P`, no module in the current folder can replace the project's packages.
    """
    return [sys.executable, "-P", "-m", "flows.server.execute", name, str(os.getpid())]


def _invalid_settings(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong with each setting: its name and the kind of error, without the value."""
    for one in error.errors(include_input=False, include_context=False, include_url=False):
        yield f"its {shorten_value('.'.join(map(str, one['loc'])))} is not valid ({one['type']})"


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def run_until_signal(worker: MnistWorker, *, with_healthcheck: bool, say: Callable[..., None]) -> None:
    """Run the worker until SIGINT, SIGTERM or SIGHUP, which first ends its runs.

    The worker ends within 5 s, or within 15 s if it has runs, even if the server does not answer. A second signal ends
    the worker immediately; its runs notice that, and end, too.

    Raises:
        CancelledError: If a signal has ended the worker.
    """
    loop = asyncio.get_running_loop()
    working = loop.create_task(worker.start(with_healthcheck=with_healthcheck, printer=say))

    async def end() -> None:
        await worker.end_runs()
        working.cancel()

    def told() -> None:
        if not worker.ending:
            ending.append(loop.create_task(end()))

    def wake() -> None:
        with suppress(RuntimeError):  # the loop has ended in the meantime
            loop.call_soon_threadsafe(told)

    ending: list[asyncio.Task[None]] = []  # keeps a reference, so that the running task is not garbage-collected
    stop.ENDING.line = stop.ENDING.line and "stopped"  # empty if `mnist serve` prints the reason
    stop.ENDING.spare_descendants = True
    stop.call_at_signal(wake)
    await working
