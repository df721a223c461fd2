"""Contain all uses of Prefect's private API, so that another version of Prefect requires changes in this module only.

`tests/unit/flows/test_prefect_compat.py` checks each use with the installed version. Importing this module does not
import Prefect.
"""
# ruff: noqa: PLC0415, SLF001  # late imports: commands that do not run a flow use this module, too

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import InvalidStateError
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from tasks.errors import first_line
from tasks.safety.plain_text import printable
from tasks.safety.redaction import redact

if TYPE_CHECKING:
    from concurrent.futures import Future as ProcessFuture
    from pathlib import Path
    from uuid import UUID

    from anyio.abc import TaskStatus
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.futures import PrefectFuture
    from prefect.task_runners import ProcessPoolTaskRunner as _ProcessPool
    from prefect.workers.process import ProcessWorker as _Worker
    from prefect.workers.process import ProcessWorkerResult
    from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
else:
    _ProcessPool = _Worker = object  # the mixins are listed before these classes, which import Prefect

# The variable in which Prefect's worker gives the process of a flow run the id of the flow run.
FLOW_RUN_ID_VARIABLE = "PREFECT__FLOW_RUN_ID"

# The variables that Prefect sets for its own temporary server, which serves a single process and never reloads.
TEMPORARY_SERVER = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}

# The loggers of flow runs and task runs.
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")

# The logger of the thread that sends events; it reports the number of events that it still has to send.
EVENTS_LOGGER = "EventsWorker"


def is_time_limit_note(record: logging.LogRecord) -> bool:
    """Return whether a log record is the note of the task engine that a time limit can't interrupt a thread.

    Prefect logs the note for each task with a time limit that runs in a thread; only its text identifies it.
    """
    message = record.getMessage()
    return message.startswith("Timeout of ") and "seconds configured" in message


def is_failure_note(record: logging.LogRecord) -> bool:
    """Return whether a log record says that a run has finished in the state Failed.

    The flow engine logs every final state with the level INFO; only its text identifies it.
    """
    return record.getMessage().startswith("Finished in state Failed")


def drop_late_results() -> None:
    """Drop the log records of results that arrive after the future of their process has got an error.

    Prefect passes on the result of a process in a callback, which fails if the future is already done.
    `concurrent.futures` then logs the error of the callback.
    """
    logging.getLogger("concurrent.futures").addFilter(_is_no_late_result)  # the same filter is added only once


def _is_no_late_result(record: logging.LogRecord) -> bool:
    """Reject the log record of a result that arrived after its future got an error."""
    return not (record.exc_info and isinstance(record.exc_info[1], InvalidStateError))


def drain_queues(seconds: Callable[[], float]) -> None:
    """Send the logs and events that are queued in the background.

    Args:
        seconds: Returns the time limit; it is called for each of the two queues.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=seconds(), at_exit=False)  # of a private base class


def lock_database_before_reading() -> None:
    """Let each transaction of a Prefect server in this process lock the SQLite database before it reads.

    If another connection writes after a transaction has read, SQLite rejects the transaction's own writes at once
    ("database is locked"), without waiting for the busy timeout, which Prefect sets to 60 s. Prefect uses the mode that
    prevents this, BEGIN IMMEDIATE, for some of its transactions only. Reads of its API are not part of a transaction.
    """
    from prefect.server.database.configurations import SQLITE_BEGIN_MODE, AioSqliteConfiguration

    theirs = AioSqliteConfiguration.begin_transaction

    @asynccontextmanager
    async def begin_transaction(
        self: AioSqliteConfiguration,
        session: "AsyncSession",
        with_for_update: bool = False,  # noqa: ARG001  # which transactions Prefect would lock
    ) -> "AsyncIterator[AsyncSessionTransaction]":
        async with theirs(self, session, with_for_update=True) as transaction:
            await session.connection()  # begins
            # A session that is opened during this transaction would wait for it if it took the lock, too.
            SQLITE_BEGIN_MODE.set("DEFERRED")
            yield transaction

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign]


def wrapped_future(future: "PrefectFuture[Any]") -> Any:
    """Return the future of the cluster, or of the process pool, inside a future of Prefect.

    It is a property of `PrefectWrappedFuture`, the base class of the futures of Dask, Ray and the process pool.
    """
    return cast("Any", future).wrapped_future


def process_future(future: "PrefectFuture[Any]") -> "ProcessFuture[bytes]":
    """Return the innermost future of a task in a process pool, whose result is pickled.

    It is an attribute of the private future that unpickles the result, which has no state of its own.
    """
    return cast("ProcessFuture[bytes]", wrapped_future(future).wrapped_future)


def has_final_state(future: "PrefectFuture[Any]") -> bool:
    """Return whether a future knows its final state; its property `state` would ask the server otherwise."""
    return cast("Any", future)._final_state is not None


class ProcessPoolHooks(_ProcessPool):
    """A mixin for `ProcessPoolTaskRunner` that starts its processes early, and ends even if a process has died.

    It uses the executor, the message queue and the forwarding thread of the task runner, and overrides the method that
    ends this thread.
    """

    def start_processes(self) -> None:
        """Start all processes of the pool, which would otherwise start one by one with the tasks."""
        assert self._executor  # noqa: S101  # set when the runner is entered
        for _ in range(self._max_workers):
            self._executor.submit(int)  # each call starts a process, as long as no process is idle

    def _stop_message_forwarding(self) -> None:
        """End the thread that forwards the log messages of the processes, which have all ended.

        Prefect would put a last message into their queue. It would wait forever if a process died while writing a
        message, because that process still holds the lock of the queue. After the writing end is closed, the thread
        reads all messages and then the end of file.
        """
        queue, thread = self._subprocess_message_queue, self._message_forwarding_thread
        if queue is not None and thread is not None:
            queue._writer.close()
            thread.join(timeout=5)
        self._subprocess_message_queue = self._message_forwarding_thread = None


@contextmanager
def without_prefect_handlers() -> Iterator[None]:
    """Keep Prefect from handling SIGTERM in a flow of this process.

    Prefect would send the signal again, which would count as a second one. The context manager that installs Prefect's
    handler is replaced in the module of the flow engine, which enters it around each flow.
    """
    from prefect import flow_engine

    names = vars(flow_engine)
    theirs = names["capture_sigterm"]
    names["capture_sigterm"] = nullcontext
    try:
        yield
    finally:
        names["capture_sigterm"] = theirs


def listen_to_worker() -> None:
    """Let the worker that started this process cancel the flow run.

    `prefect.engine` calls this function of Prefect's before it runs a flow. The function removes the address and the
    credential of the worker from the environment.
    """
    from prefect._internal.control_listener import configure_from_env

    configure_from_env()


def one_line(message: str) -> str:
    """Return the first line of a message for the API, without secrets.

    The other lines of an error of pydantic contain the values that it rejects.
    """
    return printable(redact(next(iter(message.splitlines()), "")))


class WorkerHooks(_Worker):
    """A mixin for `ProcessWorker` that gives access to its private methods."""

    async def _propose_crashed_state(
        self, flow_run: "FlowRun", message: str, client: "PrefectClient | None" = None
    ) -> None:
        """Put a flow run into a Crashed state with a message of one line."""
        await super()._propose_crashed_state(flow_run, one_line(message), client)

    async def crash(self, flow_run: "FlowRun", message: str) -> None:
        """Put a flow run that was not started into a Crashed state."""
        await self._propose_crashed_state(flow_run, message)

    async def _cancel_run(self, flow_run_id: "UUID") -> None:
        """Cancel a run that was not started.

        An error, such as that of an unusable job template, is logged and does not end the worker, which calls this
        method for each run that it has not started.
        """
        try:
            await super()._cancel_run(flow_run_id)
        except Exception as error:  # noqa: BLE001  # any answer of the API
            self._logger.warning("the flow run %s can't be canceled: %s", flow_run_id, first_line(error))


async def run_command(
    command: Sequence[str],
    flow_run: "FlowRun",
    *,
    resolve_flow: "Callable[[FlowRun], Awaitable[Flow[..., Any]]]",
    status: "TaskStatus[Any]",
    cwd: "Path",
    env: Mapping[str, str | None],
    stream_output: bool,
) -> "ProcessWorkerResult | None":
    """Run a flow run with a command, as Prefect's process worker does with its own.

    The process gets a process group of its own. Its PID is reported to `status` after the start. `resolve_flow` returns
    the flow, whose hooks Prefect calls if the process crashes or the run is canceled. `stream_output` makes the worker
    print the output of the process.

    Returns:
        The result that the worker reports; None if the process did not start.
    """
    import anyio
    from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
    from prefect.runner._process_manager import ProcessHandle
    from prefect.runner._starter_engine import EngineCommandStarter
    from prefect.utilities.processutils import command_to_string
    from prefect.workers.process import ProcessWorkerResult

    results: list[FlowRunExecutionResult | None] = []

    async with FlowRunExecutorContext() as context:
        starter = EngineCommandStarter(
            command=command_to_string([*command]),
            cwd=cwd,
            env={**env},
            stream_output=stream_output,
            control_channel=context.control_channel,
            isolate_process_group=True,
            env_overrides_settings=True,
        )
        executor = context.create_executor(flow_run, starter, resolve_flow=resolve_flow, propose_submitting=False)

        async def execute(*, task_status: "TaskStatus[ProcessHandle]" = anyio.TASK_STATUS_IGNORED) -> None:
            results.append(await executor.submit(task_status=task_status))

        async with anyio.create_task_group() as group:
            handle = await group.start(execute)
            status.started(handle.pid)
    result = results[0]
    if result is None or result.status_code is None:
        return None
    return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))
