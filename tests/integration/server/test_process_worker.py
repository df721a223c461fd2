"""Test which jobs the worker rejects, without a server, and the private parts of Prefect that the worker relies on."""

import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows.config import require_allowed_runner
from flows.server.process_worker import Configuration, MnistWorker, command_of
from flows.server.vetting import ENTRY_POINTS, FLOW_NAMES, HEARTBEAT, RUNNERS, WORKING_DIRECTORY, flow_of, objections
from tasks.errors import InputError

PROJECT = Path(__file__).parents[3]
SOUND = {"env": {HEARTBEAT: "30"}, "labels": {"a": "b"}, "name": "x", "stream_output": False}


def deployment(folder: Path, **changes: Any) -> Any:
    """Return a deployment like those that `prefect deploy` creates, with some changes."""
    step = {WORKING_DIRECTORY: {"directory": str(folder)}}
    none = dict.fromkeys(("path", "storage_document_id", "infrastructure_document_id"))
    return SimpleNamespace(**{"entrypoint": "flows.mnist.mnist", "pull_steps": [step], **none, **changes})


def found(folder: Path, asked: Any = None, parameters: Any = None, **changes: Any) -> list[str]:
    return list(objections(deployment(folder, **changes), asked or {}, parameters or {}, folder, {"tls://a:1"}))


def test_flow_runs_of_the_projects_deployments_are_run(tmp_path: Path) -> None:
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    assert found(tmp_path, SOUND, {"epochs": 3, "runner": "process"}) == []
    assert found(tmp_path, SOUND, {"runner": "tls://a:1"}, pull_steps=None) == []
    assert found(tmp_path, pull_steps=[{WORKING_DIRECTORY: {"directory": str(link)}}]) == []


def test_every_entry_point_of_the_deployments_is_a_flow_that_the_worker_runs() -> None:
    file = yaml.safe_load((PROJECT / "deployments" / "prefect.yaml").read_text())
    assert {one["entrypoint"] for one in file["deployments"]} == set(ENTRY_POINTS)
    assert {flow_of(name).name for name in FLOW_NAMES} == set(FLOW_NAMES)


@pytest.mark.parametrize(
    "changes",
    [
        {"entrypoint": None},
        {"entrypoint": ""},
        {"entrypoint": "flows.mnist.mnist "},
        {"entrypoint": "flows/mnist.py:mnist"},
        {"entrypoint": "flows.mnist.title"},
        {"path": "/evil"},
        {"storage_document_id": "1"},
        {"infrastructure_document_id": "1"},
        {"pull_steps": [{}]},
        {"pull_steps": [{WORKING_DIRECTORY: None}]},
        {"pull_steps": [{WORKING_DIRECTORY: {}}]},
        {"pull_steps": [{WORKING_DIRECTORY: {"directory": 1}}]},
        {"pull_steps": [{WORKING_DIRECTORY: {"directory": "/"}}]},
        {"pull_steps": [{WORKING_DIRECTORY: {"directory": "HERE", "requires": "evil"}}]},
        {"pull_steps": [{WORKING_DIRECTORY: {"directory": "HERE"}, "prefect.deployments.steps.run_shell_script": {}}]},
        {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "true"}}]},
        {"pull_steps": [{"os.system": {"command": "true"}}]},
    ],
)
def test_a_deployment_that_is_not_the_projects_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    for step in changes.get("pull_steps", []):
        for options in step.values():
            if isinstance(options, dict) and options.get("directory") == "HERE":
                options["directory"] = str(tmp_path)
    assert len(found(tmp_path, **changes)) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"command": "true"},
        {"working_dir": Path("/evil")},
        {"launched_by_a_later_prefect": True},
        {"env": "PATH"},
        {"env": {"PYTHONPATH": "/evil"}},
        {"env": {"path": "/evil"}},
        {"env": {RUNNERS: "dask://evil:1"}},
        {"env": {HEARTBEAT: "29"}},
        {"env": {HEARTBEAT: "3601"}},
        {"env": {HEARTBEAT: "30 "}},
        {"env": {HEARTBEAT: "9" * 5000}},
        {"env": {HEARTBEAT: None}},
        {"env.PYTHONPATH": "/evil"},
        {"command.x": "true"},
    ],
)
def test_a_job_that_asks_for_more_than_the_heartbeat_is_refused(asked: dict[str, Any], tmp_path: Path) -> None:
    assert len(found(tmp_path, SOUND | asked)) == 1


@pytest.mark.parametrize("runner", ["dask://a:1", "tls://a:2", "ray://evil:1", None, ["tls://a:1"], {"a": 1}])
def test_a_cluster_that_the_worker_was_not_started_with_is_refused(runner: Any, tmp_path: Path) -> None:
    assert len(found(tmp_path, parameters={"runner": runner})) == 1


def test_without_a_deployment_nothing_is_run(tmp_path: Path) -> None:
    assert list(objections(None, {}, {}, tmp_path, ())) == ["it has no deployment"]


def test_a_flow_run_takes_only_the_clusters_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNNERS, raising=False)
    assert require_allowed_runner("dask://a:1") == "dask://a:1"  # a run that a person starts
    monkeypatch.setenv(RUNNERS, "")
    assert require_allowed_runner("process") == "process"
    with pytest.raises(InputError, match="start the worker with --allow-runner dask://a:1"):
        require_allowed_runner("dask://a:1")
    monkeypatch.setenv(RUNNERS, "ray://b:2 tls://a:1")
    assert require_allowed_runner("tls://a:1") == "tls://a:1"


def test_a_package_in_the_working_folder_does_not_stand_in_for_the_projects(tmp_path: Path) -> None:
    (tmp_path / "flows" / "server").mkdir(parents=True)
    for name in (
        "flows/__init__.py",
        "flows/server/__init__.py",
        "flows/server/execute.py",
        "prefect.py",
        "sitecustomize.py",
    ):
        (tmp_path / name).write_text("print('evil')\n")
    # The given worker, process 1, is not the parent of the command, so the command ends before it requests a run.
    done = subprocess.run([*command_of("mnist")[:-1], "1"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("mnist: the worker that started this run has ended\n")


def test_no_other_flow_can_be_executed(tmp_path: Path) -> None:
    command = command_of("cli")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "mnist: no flow is called 'cli': give mnist or study\n")


def test_a_worker_without_a_server_says_what_it_needs(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    for more, said in (
        ({}, "set PREFECT_API_URL"),
        ({"PREFECT_API_URL": "http://127.0.0.1:9/api"}, "no Prefect server answers"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.app", "worker"],
            env=env | {"PREFECT_HOME": str(tmp_path)} | more, cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_template_of_an_unknown_shape_is_seen() -> None:
    made = Configuration.model_validate({"command": "true", "later": "x", "empty": None, "env": {"A": "b"}})
    assert made.differences() == {"command": "true", "later": "x", "env": {"A": "b"}}
    assert Configuration(command="", stream_output=True, env={}).differences() == {}


class TestContract:
    """Private parts of Prefect: if one of these tests fails, review the change before you trust the worker again."""

    def test_the_job_configuration_has_the_fields_that_were_looked_at(self) -> None:
        fields = {"command", "env", "labels", "name", "stream_output", "working_dir"}
        assert set(ProcessJobConfiguration.model_fields) == fields

    def test_the_worker_hands_the_whole_configuration_to_run(self) -> None:
        source = "".join(inspect.getsource(BaseWorker._submit_run_and_capture_errors).split())
        assert "self.run(flow_run=flow_run,task_status=task_status,configuration=configuration,)" in source
        assert list(inspect.signature(MnistWorker.run).parameters) == list(
            inspect.signature(ProcessWorker.run).parameters
        )
        prepared = inspect.signature(ProcessJobConfiguration.prepare_for_flow_run).parameters
        assert list(inspect.signature(Configuration.prepare_for_flow_run).parameters) == list(prepared)

    def test_nothing_but_run_starts_anything(self) -> None:
        source = inspect.getsource(sys.modules[BaseWorker.__module__])
        # Callers that hold the worker as an object use `submit`; a cancellation calls `kill_infrastructure`.
        assert source.count("self.run(") == 2
        assert source.count("self._initiate_run(") == 1
        assert not MnistWorker("mnist").cleanup_handler_registry
        assert MnistWorker.kill_infrastructure is BaseWorker.kill_infrastructure

    def test_a_new_pool_has_the_template_of_prefects_own_process_worker(self) -> None:
        assert MnistWorker.get_default_base_job_template() == ProcessWorker.get_default_base_job_template()
        assert MnistWorker.type == "process"

    def test_prefects_own_worker_stays_registered(self) -> None:
        assert BaseWorker.get_worker_class_from_type("process") is ProcessWorker


def test_the_hooks_of_a_crashed_run_get_the_name_that_the_run_has_given_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = SimpleNamespace(id=1, name="nightly"), SimpleNamespace(id=1, name="20261127-020000-nightly")
    made = Configuration()
    made._deployment = deployment(tmp_path)

    async def run_command(_command: object, flow_run: Any, *, resolve_flow: Any, **_options: object) -> Any:
        return await resolve_flow(flow_run)

    async def read_flow_run(_identity: object) -> Any:
        return after

    monkeypatch.setattr("flows.server.process_worker.run_command", run_command)
    monkeypatch.setattr(MnistWorker, "reasons", lambda *_arguments: [])
    worker = MnistWorker("mnist")
    worker._client = SimpleNamespace(read_flow_run=read_flow_run)
    flow: Any = asyncio.run(worker.run(before, made))
    assert flow.name == "mnist"
    assert before.name == after.name
