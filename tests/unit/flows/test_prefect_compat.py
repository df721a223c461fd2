"""Check the installed Prefect for everything private that `flows.processes.prefect_compat` relies on."""

import ast
import asyncio
import functools
import inspect
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import cloudpickle
import prefect
import pytest
from prefect import flow_engine, task, task_engine, task_runners
from prefect._internal import control_listener
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectConcurrentFuture, PrefectFuture, PrefectWrappedFuture
from prefect.logging.handlers import APILogWorker
from prefect.logging.loggers import flow_run_logger, task_run_logger
from prefect.runner import _flow_run_executor as flow_run_executor
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutor, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.states import Completed, Failed
from prefect.task_runners import ProcessPoolTaskRunner
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from flows.processes import prefect_compat
from flows.runners.local import Runner
from flows.server.process_worker import MnistWorker

INSTALLED = Path(prefect.__file__).parent


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("prefect.task_runs", logging.INFO, __file__, 1, message, arguments, None)


def source_of(name: str) -> str:
    """The source of one of Prefect's modules, which is not imported."""
    return (INSTALLED / name).read_text(encoding="utf-8")


def strings_of(name: str) -> Iterator[str]:
    return (
        node.value
        for node in ast.walk(ast.parse(source_of(name)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_the_import_does_not_import_prefect() -> None:
    said = "import sys, flows.processes.prefect_compat; print('prefect' in sys.modules, 'anyio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


class TestEnvironment:
    def test_a_temporary_server_is_marked_by_these_variables(self) -> None:
        found = source_of("server/api/server.py")
        for name in prefect_compat.TEMPORARY_SERVER:
            assert f'os.getenv("{name}")' in found

    def test_the_process_of_a_flow_run_gets_its_id(self) -> None:
        given = f'"{prefect_compat.FLOW_RUN_ID_VARIABLE}": str(flow_run.id)'
        assert given in inspect.getsource(EngineCommandStarter.start)


class TestLogs:
    def test_runs_log_to_these_loggers(self) -> None:
        flow_run = cast("FlowRun", FlowRun.model_construct(id=uuid4(), name="a", flow_id=uuid4()))
        task_run = cast(
            "TaskRun", TaskRun.model_construct(id=uuid4(), name="b", flow_run_id=uuid4(), task_key="c", dynamic_key="0")
        )
        adapters = (flow_run_logger(flow_run), task_run_logger(task_run, flow_run=flow_run))
        assert tuple(one.logger.name for one in adapters) == prefect_compat.RUN_LOGGERS

    def test_the_thread_that_sends_events_logs_under_its_name(self) -> None:
        assert EventsWorker.__name__ == prefect_compat.EVENTS_LOGGER
        assert 'logging.getLogger(f"{type(self).__name__}")' in source_of("_internal/concurrency/services.py")

    def test_the_note_on_time_limits_is_recognized(self) -> None:
        notes = [text for text in strings_of("task_engine.py") if "timeout will only take effect after" in text]
        assert len(notes) == 1
        assert prefect_compat.is_time_limit_note(record(notes[0], 60.0))
        assert not prefect_compat.is_time_limit_note(record("Finished in state Completed()"))

    def test_the_note_on_a_failure_is_recognized(self) -> None:
        for engine in (flow_engine, task_engine):
            assert 'f"Finished in state {display_state}"' in inspect.getsource(engine)
        assert prefect_compat.is_failure_note(record(f"Finished in state {Failed(message='x')}"))
        assert not prefect_compat.is_failure_note(record(f"Finished in state {Completed(message='x')}"))

    @pytest.mark.parametrize("dropped", [True, False])
    def test_a_late_result_is_logged_by_concurrent_futures_unless_dropped(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, dropped: bool
    ) -> None:
        monkeypatch.setattr(logging.getLogger("concurrent.futures"), "filters", [])
        if dropped:
            prefect_compat.drop_late_results()
        resolved: Future[Future[bytes]] = Future()
        late: Future[bytes] = Future()
        chained = task_runners._ChainedFuture(resolved)
        resolved.set_result(late)
        chained.set_exception(ValueError("the process was ended"))
        late.set_result(b"")
        assert [one.name for one in caplog.records] == ([] if dropped else ["concurrent.futures"])

    @pytest.mark.parametrize("service", [APILogWorker, EventsWorker])
    def test_a_queue_is_drained_with_a_time_limit(self, service: Any) -> None:
        inspect.signature(service.drain_all).bind(timeout=1.0, at_exit=False)

    def test_both_queues_are_drained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[dict[str, Any]] = []
        for service in (APILogWorker, EventsWorker):
            monkeypatch.setattr(service, "drain_all", lambda **options: given.append(options))
        prefect_compat.drain_queues(lambda: 2.0)
        assert given == [{"timeout": 2.0, "at_exit": False}] * 2


@task
def nothing() -> None:
    """Do nothing; the process pool of the test runs another function."""


class TestProcessPool:
    def test_processes_start_early_and_the_future_of_a_task_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process does not run the task, which would need a server."""
        answer = functools.partial(cloudpickle.dumps, "done")
        monkeypatch.setattr(task_runners, "cloudpickle_wrapped_call", lambda *_, **__: answer)
        before = set(multiprocessing.active_children())
        with Runner(max_workers=1) as runner:
            forwarding = runner._message_forwarding_thread
            runner.start_processes()
            assert len(set(multiprocessing.active_children()) - before) == 1
            future = runner.submit(nothing, {})
            found = prefect_compat.process_future(future)
            assert cloudpickle.loads(found.result(timeout=60)) == future.wrapped_future.result() == "done"  # type: ignore[attr-defined]
        assert forwarding
        assert not forwarding.is_alive()
        assert runner._subprocess_message_queue is runner._message_forwarding_thread is None

    def test_the_future_of_a_task_can_be_completed_with_an_error(self) -> None:
        lost = task_runners._ChainedFuture(Future())
        wrapped: Any = task_runners._UnpicklingFuture(lost)
        future: PrefectFuture[Any] = PrefectConcurrentFuture(task_run_id=uuid4(), wrapped_future=wrapped)
        assert prefect_compat.process_future(future) is lost
        lost.set_exception(ValueError("the process was ended"))
        with pytest.raises(ValueError, match="the process was ended"):
            future.result()

    def test_prefect_calls_the_method_that_ends_the_forwarding(self) -> None:
        assert "self._stop_message_forwarding()" in inspect.getsource(ProcessPoolTaskRunner.cancel_all)
        assert list(inspect.signature(ProcessPoolTaskRunner._stop_message_forwarding).parameters) == ["self"]
        assert Runner._stop_message_forwarding is prefect_compat.ProcessPoolHooks._stop_message_forwarding

    def test_the_queue_has_an_end_for_writing(self) -> None:
        queue: Any = multiprocessing.get_context("spawn").Queue()
        queue._writer.close()
        with pytest.raises(EOFError):
            queue.get(timeout=10)


class TestClusterFutures:
    def test_dask(self) -> None:
        from prefect_dask.task_runners import PrefectDaskFuture

        assert issubclass(PrefectDaskFuture, PrefectWrappedFuture)
        inside = Future[Any]()
        assert prefect_compat.wrapped_future(PrefectDaskFuture(uuid4(), inside)) is inside

    def test_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from prefect_ray import task_runners as ray_runners

        inside = object()
        future = ray_runners.PrefectRayFuture(task_run_id=uuid4(), wrapped_future=inside)
        assert prefect_compat.wrapped_future(future) is inside
        assert not prefect_compat.has_final_state(future)
        monkeypatch.setattr(ray_runners, "ray", SimpleNamespace(get=lambda *_, **__: Completed()))
        future.wait()
        assert prefect_compat.has_final_state(future)


class TestFlowEngine:
    def test_the_handler_of_sigterm_is_replaced_for_a_while(self) -> None:
        engine = cast("Any", flow_engine)
        before = engine.capture_sigterm
        assert "with capture_sigterm():" in inspect.getsource(flow_engine)
        with prefect_compat.without_prefect_handlers():
            assert engine.capture_sigterm is nullcontext
        assert engine.capture_sigterm is before

    def test_the_address_of_the_worker_is_taken_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("_configured", False), ("_configured_port", None), ("_configured_token", None)):
            monkeypatch.setattr(control_listener, name, value)
        monkeypatch.setenv("PREFECT__CONTROL_PORT", "4242")
        monkeypatch.setenv("PREFECT__CONTROL_TOKEN", "secret")
        prefect_compat.listen_to_worker()
        assert (control_listener._configured_port, control_listener._configured_token) == (4242, "secret")
        assert "configure_from_env()" in source_of("engine.py")


class ServerlessContext:
    """A context whose executor starts the process and reports its exit code, and tells no server."""

    control_channel = None

    async def __aenter__(self) -> "ServerlessContext":
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None

    def create_executor(self, flow_run: FlowRun, starter: EngineCommandStarter, **_options: Any) -> Any:
        async def submit(task_status: Any) -> FlowRunExecutionResult:
            handles: list[ProcessHandle] = []

            def started(handle: ProcessHandle) -> None:
                handles.append(handle)
                task_status.started(handle)

            await starter.start(flow_run, cast("Any", SimpleNamespace(started=started)))
            return FlowRunExecutionResult(handle=handles[0], status_code=handles[0].returncode)

        return SimpleNamespace(submit=submit)


class TestWorker:
    def test_a_command_is_run_by_prefects_executor(self) -> None:
        starter = inspect.signature(EngineCommandStarter.__init__).parameters
        given = {"command", "cwd", "env", "stream_output", "control_channel", "isolate_process_group"}
        assert given | {"env_overrides_settings"} <= set(starter)
        assert "entrypoint" in starter  # which is not given
        create = inspect.signature(FlowRunExecutorContext.create_executor)
        create.bind("self", "flow run", "starter", resolve_flow=None, propose_submitting=False)
        assert "task_status" in inspect.signature(FlowRunExecutor.submit).parameters
        assert hasattr(FlowRunExecutorContext, "__aenter__")
        assert "self.control_channel =" in inspect.getsource(FlowRunExecutorContext)

    def test_a_command_gets_the_folder_the_variables_and_the_id_of_the_flow_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Prefect's starter runs the command; its executor, which would need a server, is replaced."""
        monkeypatch.setattr(flow_run_executor, "FlowRunExecutorContext", ServerlessContext)
        flow_run = cast("FlowRun", FlowRun.model_construct(id=uuid4(), flow_id=uuid4(), name="a", deployment_id=None))
        written = f"os.environ[{prefect_compat.FLOW_RUN_ID_VARIABLE!r}] + os.environ['OWN'] + str(os.getpgrp() == os.getpid())"
        code = f"import os; open('said', 'w').write({written}); os._exit(3)"
        pids: list[int] = []

        async def resolve(_flow_run: FlowRun) -> Any:
            return None

        result = asyncio.run(
            prefect_compat.run_command(
                [sys.executable, "-c", code],
                flow_run,
                resolve_flow=resolve,
                status=cast("Any", SimpleNamespace(started=pids.append)),
                cwd=tmp_path,
                env={"OWN": "own"},
                stream_output=False,
            )
        )
        assert result is not None
        assert (result.status_code, result.identifier) == (3, str(pids[0]))
        assert (tmp_path / "said").read_text() == f"{flow_run.id}ownTrue"

    def test_the_result_has_the_exit_code_and_the_pid(self) -> None:
        process = cast("Any", SimpleNamespace(pid=42))
        result = FlowRunExecutionResult(handle=ProcessHandle(process), status_code=3)
        assert (result.status_code, result.handle.pid) == (3, 42)

    def test_a_flow_run_can_be_put_into_a_crashed_state(self) -> None:
        signature = inspect.signature(BaseWorker._propose_crashed_state)
        signature.bind("self", "flow run", "message")
        assert inspect.iscoroutinefunction(BaseWorker._propose_crashed_state)

    def test_an_error_of_a_cancellation_is_logged(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(_self: object, _flow_run_id: object) -> None:
            raise ValueError("the template can't be used")

        assert "self._cancel_run" in inspect.getsource(BaseWorker)
        assert list(inspect.signature(ProcessWorker._cancel_run).parameters) == ["self", "flow_run_id"]
        monkeypatch.setattr(BaseWorker, "_cancel_run", fail)
        worker, run = MnistWorker("mnist"), uuid4()
        monkeypatch.setattr(worker, "_logger", logging.getLogger("tests.worker"))
        asyncio.run(worker._cancel_run(run))
        assert caplog.messages == [f"the flow run {run} can't be canceled: the template can't be used"]
