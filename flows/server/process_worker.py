"""Process worker: Prefect's own, which starts nothing but the project's flows, each with a command of its own.

What the API says decides which of the flows runs, with which parameters, and nothing more: neither the deployment's pull steps
nor the job's command, folder or environment are used, and a flow run that asks for any is refused (`flows.server.vetting`). So
nothing that changes between the check and the start matters. Private parts of Prefect's worker are used here and in
`flows.server.execute`.
"""

import asyncio
import os
import signal
import sys
from abc import ABC
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import psutil
from anyio.abc import TaskStatus
from prefect import Flow
from prefect.client.schemas.objects import Flow as ApiFlow
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from pydantic import ConfigDict, PrivateAttr

from flows.server.vetting import ENTRY_POINTS, RUNNERS, flow_of, objections, wrong_configuration
from tasks.errors import first_line
from tasks.filesystem.trusted_files import UNATTENDED
from tasks.safety.redaction import redact

_END_SECONDS = 10.0  # for runs to tell the server that they end, where their worker is told to
_UNSET: tuple[Any, ...] = (None, "", {}, [])  # as forms send what was left empty


class Configuration(ProcessJobConfiguration):
    """Prefect's job configuration, which remembers what was asked for, before Prefect adds the environment of this process."""

    model_config = ConfigDict(extra="allow")  # so that settings that this version of Prefect does not know are seen

    _deployment: DeploymentResponse | None = PrivateAttr(default=None)
    _asked: dict[str, Any] = PrivateAttr(default_factory=dict)

    def prepare_for_flow_run(
        self,
        flow_run: FlowRun,
        deployment: DeploymentResponse | None = None,
        flow: ApiFlow | None = None,
        work_pool: WorkPool | None = None,
        worker_name: str | None = None,
        worker_id: UUID | None = None,
    ) -> None:
        """Fill in what Prefect needs."""
        self._deployment, self._asked = deployment, self.differences()
        super().prepare_for_flow_run(flow_run, deployment, flow, work_pool, worker_name, worker_id)

    def differences(self) -> dict[str, Any]:
        """All settings that are not Prefect's defaults."""
        unknown = {name: value for name, value in (self.model_extra or {}).items() if value not in _UNSET}
        fields = type(self).model_fields.items()
        known = {name: (getattr(self, name), field.get_default(call_default_factory=True)) for name, field in fields}
        changed = {name: value for name, (value, default) in known.items() if value != default} | unknown
        return {name: str(value) if isinstance(value, Path) else value for name, value in changed.items()}


class MnistWorker(ProcessWorker, ABC):  # an ABC is not registered, where it would take the place of Prefect's own
    """Runs the project's flows, and refuses all else."""

    job_configuration = Configuration

    def __init__(self, work_pool_name: str, *, runners: Iterable[str] = (), **options: Any) -> None:
        super().__init__(work_pool_name, **options)
        self.runners, self.folder = frozenset(runners), Path.cwd()
        self.ending = False

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take the runs that are due, unless the worker has been told to end."""
        return [] if self.ending else await super().get_and_submit_flow_runs()

    async def end_runs(self) -> None:
        """Tell all runs to end, and wait for it; Prefect's worker would kill them before they could tell the server."""
        self.ending = True
        runs = psutil.Process().children()
        for run in runs:
            with suppress(psutil.NoSuchProcess):
                run.terminate()
        with anyio.move_on_after(_END_SECONDS):
            while any(_is_alive(run) for run in runs):  # to wait for them would take their exit codes from asyncio
                await anyio.sleep(0.1)

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: TaskStatus[Any] | None = None
    ) -> ProcessWorkerResult:
        """Run one of the project's flows, or put the flow run into a Crashed state that says what was refused."""
        status = task_status or anyio.TASK_STATUS_IGNORED
        assert isinstance(configuration, Configuration)  # noqa: S101  # it is this class's
        deployment = configuration._deployment  # noqa: SLF001
        if reasons := self.reasons(flow_run, configuration):
            return await self.refuse(flow_run, reasons, status)
        name = ENTRY_POINTS[deployment.entrypoint]  # type: ignore[union-attr,index]  # it has passed

        async def resolve(_flow_run: FlowRun) -> Flow[..., Any]:
            return await anyio.to_thread.run_sync(flow_of, name)

        async with FlowRunExecutorContext() as context:
            starter = EngineCommandStarter(
                command=command_to_string(command_of(name)),
                cwd=self.folder,
                env=self.environment(configuration),
                stream_output=configuration.stream_output,
                control_channel=context.control_channel,
                isolate_process_group=True,
                env_overrides_settings=True,
            )
            executor = context.create_executor(flow_run, starter, resolve_flow=resolve, propose_submitting=False)
            result = await _executed(executor, status)
        if result is None or result.status_code is None:
            raise RuntimeError("the process of the flow run has not started")
        return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))

    def reasons(self, flow_run: FlowRun, configuration: Configuration) -> list[str]:
        """Why a flow run is refused: what its template, deployment and job variables come to, and what they name besides."""
        deployment, asked = configuration._deployment, configuration._asked  # noqa: SLF001
        found = [*objections(deployment, asked, flow_run.parameters, self.folder, self.runners)]
        for variables in (deployment.job_variables if deployment else {}, flow_run.job_variables or {}):
            given = {name: value for name, value in variables.items() if value not in _UNSET}
            found += [reason for reason in wrong_configuration(given) if reason not in found]
        return found

    async def refuse(self, flow_run: FlowRun, reasons: list[str], status: TaskStatus[Any]) -> ProcessWorkerResult:
        """Say why a flow run is not started, and go on."""
        line = redact(f"refused by the worker, which runs the project's flows only: {'; '.join(reasons)}")
        self.get_flow_run_logger(flow_run).error(line)
        await self._propose_crashed_state(flow_run, line)
        status.started(PermissionError(line))  # as Prefect's worker reports a run that did not start
        return ProcessWorkerResult(status_code=0, identifier="refused")

    async def _cancel_run(self, flow_run_id: UUID) -> None:
        """Cancel a run that was not started; one whose template can't be made sense of does not end the worker."""
        try:
            await super()._cancel_run(flow_run_id)
        except Exception as error:  # noqa: BLE001  # whatever the API has said
            self._logger.warning("the flow run %s can't be cancelled: %s", flow_run_id, first_line(error))

    def environment(self, configuration: Configuration) -> dict[str, str | None]:
        """This process's environment, what Prefect adds, and the heartbeat, which is all that a flow run may ask for."""
        return {**configuration.env, RUNNERS: " ".join(sorted(self.runners)), UNATTENDED: "1"}


def command_of(name: str) -> list[str]:
    """The command that runs a flow: with `-P`, no folder that it is called in can stand in for the project's packages."""
    return [sys.executable, "-P", "-m", "flows.server.execute", name, str(os.getpid())]


async def _executed(executor: FlowRunExecutor, status: TaskStatus[Any]) -> FlowRunExecutionResult | None:
    """Run the process to its end, and say its PID once it has started."""
    results: list[FlowRunExecutionResult | None] = []

    async def execute(*, task_status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED) -> None:
        results.append(await executor.submit(task_status=task_status))

    async with anyio.create_task_group() as group:
        handle = await group.start(execute)
        status.started(handle.pid)
    return results[0]


def _is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_told(worker: MnistWorker, *, with_healthcheck: bool, say: Callable[..., None]) -> None:
    """Work until SIGINT or SIGTERM; its runs end first. A second signal ends the worker at once, and its runs with it.

    Raises:
        CancelledError: it was told to end.
    """
    loop = asyncio.get_running_loop()
    working = loop.create_task(worker.start(with_healthcheck=with_healthcheck, printer=say))

    async def end() -> None:
        await worker.end_runs()
        working.cancel()

    def told() -> None:
        if worker.ending:
            os.kill(os.getpid(), signal.SIGKILL)  # each run sees that its worker has gone, and ends
        ending.append(loop.create_task(end()))

    ending: list[asyncio.Task[None]] = []  # else the task could be collected in its middle
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    await working
