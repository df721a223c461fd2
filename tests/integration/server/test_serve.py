"""Test the server, the deployments and the worker of `mnist serve`, with authentication and a webhook."""

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest

from flows.cli import serve
from flows.server.credential import Credential
from tests.conftest import on_all_cores
from tests.support import data
from tests.support.receiver import Receiver, receiver
from tests.support.serving import MNIST, PREFECT, QUICK, Api, Serving, free_port, serving, until, without_prefect

AUTH = "mnist:s3cret"
PARTS = {"report", "model-plain", "model-batch-norm", "galleries", "results", "errors-by-label", "patterns", "slices"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> str:
    return str(data.make(folder / "mirror", data.FEW).toml())


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


@pytest.fixture(scope="module")
def served(folder: Path, told: Receiver) -> Iterator[Serving]:
    with on_all_cores(), serving(folder / "prefect", folder / "root", AUTH, MNIST_WEBHOOK=told.url, **QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def api(served: Serving) -> Api:
    return served.api


def started(api: Api, dataset: str, **parameters: Any) -> str:
    response = api.start("on-demand", dataset=dataset, **parameters)
    assert response.status_code == 201, response.text
    identity: str = response.json()["id"]
    return identity


@pytest.fixture(scope="module")
def completed(served: Serving, api: Api, dataset: str) -> dict[str, Any]:
    """Start a run from the command line, as in the README, and return it."""
    env = {"PREFECT_API_URL": api.url.rstrip("/"), "PREFECT_API_AUTH_STRING": AUTH}
    done = subprocess.run(
        [PREFECT, "deployment", "run", "mnist/on-demand", "--watch", "--param", f"dataset={dataset}", "--param", "epochs=1",
         "--flow-run-name", "My night:\n../ä/1", "--tag", "trial"],
        env=without_prefect(os.environ) | env, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (identity,) = set(re.findall(r"UUID: (\S+)", done.stdout))
    return api.run(identity)


def test_the_deployments_stand_as_the_file_has_them(api: Api) -> None:
    found = {name: api.deployment(name) for name in ("on-demand", "nightly", "weekly")}
    for name, one in found.items():
        assert one["description"]
        assert one["tags"] == ["mnist", name]
        assert one["work_pool_name"] == "mnist"
        assert one["entrypoint"] == "flows.mnist.mnist"
        assert one["enforce_parameter_schema"]
        assert one["global_concurrency_limit"]["limit"] == 1
        assert len(one["version"]) >= 5
    assert {name: one["work_queue_name"] for name, one in found.items()} == {
        "on-demand": "on-demand", "nightly": "scheduled", "weekly": "scheduled",
    }  # fmt: skip
    strategies = {name: one["concurrency_options"]["collision_strategy"] for name, one in found.items()}
    assert strategies == {"on-demand": "ENQUEUE", "nightly": "CANCEL_NEW", "weekly": "CANCEL_NEW"}
    schedules = {name: [one["schedule"] for one in found[name]["schedules"]] for name in ("nightly", "weekly")}
    assert [(one["cron"], one["timezone"]) for one in schedules["nightly"]] == [("0 2 * * *", "UTC")]
    assert [(one["cron"], one["timezone"]) for one in schedules["weekly"]] == [("0 4 * * 0", "UTC")]
    assert found["nightly"]["parameters"] == {"recipe": "post", "epochs": 3, "seed": "date", "line": "nightly"}
    weekly = {"recipe": "post", "epochs": 10, "seed": "date", "line": "weekly", "robustness": True}
    assert found["weekly"]["parameters"] == weekly


def test_the_version_is_what_git_says(api: Api) -> None:
    project = Path(__file__).parents[3]
    command = ["git", "describe", "--always", "--dirty", "--tags"]
    said = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout.strip()
    assert api.deployment("nightly")["version"].removesuffix("-dirty") == said.removesuffix("-dirty")


def test_the_schedules_have_runs_that_wait(api: Api) -> None:
    nightly = api.deployment("nightly")["id"]
    waiting = {"deployments": {"id": {"any_": [nightly]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = until(lambda: api.ask("flow_runs/filter", **waiting, sort="EXPECTED_START_TIME_ASC"), "scheduled runs")
    assert runs[0]["expected_start_time"].split("T")[1].startswith("02:00:00")


def test_the_form_describes_and_limits_every_parameter(api: Api) -> None:
    form = api.deployment("on-demand")["parameter_openapi_schema"]["properties"]
    assert list(form) == [
        "dataset",
        "recipe",
        "epochs",
        "seed",
        "validation",
        "gate",
        "robustness",
        "line",
        "root",
        "mirrors",
        "runner",
    ]
    assert all(field["description"] for field in form.values())
    assert {"type": "integer", "minimum": 1, "maximum": 10_000} in form["epochs"]["anyOf"]


REFUSED = [
    {"epochs": 0},
    {"epochs": "three"},
    {"seed": -1},
    {"seed": "today"},
    {"validation": 0.9},
    {"gate": "maybe"},
    {"recipe": "No!"},
    {"runner": 1},
]


@pytest.mark.parametrize("parameters", REFUSED, ids=[str(one) for one in REFUSED])
def test_wrong_parameters_are_refused_before_a_run(api: Api, parameters: dict[str, Any]) -> None:
    response = api.start("on-demand", **parameters)
    assert response.status_code == 409, response.text
    assert next(iter(parameters)) in response.text


def test_a_client_without_authentication_gets_401(served: Serving) -> None:
    address = f"http://127.0.0.1:{served.port}/api"
    for auth in (None, ("mnist", "wrong")):
        assert httpx.post(f"{address}/flow_runs/filter", json={}, auth=auth).status_code == 401
    done = subprocess.run(
        [MNIST, "run"], env=without_prefect(os.environ) | {"PREFECT_API_URL": address},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "PREFECT_API_AUTH_STRING" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_server_listens_on_this_machine_only(served: Serving) -> None:
    listening = [
        connection.laddr
        for process in [psutil.Process(served.process.pid), *served.processes()]
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert served.port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_a_taken_port_is_named(served: Serving, tmp_path: Path) -> None:
    done = subprocess.run(
        [MNIST, "serve", "--port", str(served.port), "--root", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"mnist: can't listen on 127.0.0.1:{served.port}: Address already in use")
    assert done.stderr.count("\n") == 1


def test_a_run_completes_and_its_artifacts_are_there(api: Api, completed: dict[str, Any], folder: Path) -> None:
    assert completed["state_name"] == "Completed", completed["state"]
    assert re.fullmatch(r"\d{8}-\d{6}-my-night-a-1", completed["name"])
    assert "exact McNemar p" in completed["state"]["message"]
    assert {"mnist", "on-demand", "trial", "dataset:tiny", "recipe:post", "line:main"} == set(completed["tags"])
    assert set(api.artifacts(completed["id"])) >= PARTS
    (report,) = (folder / "root" / "runs").glob("*/report.html")
    assert report.parent.name == completed["name"]
    assert f"{api.url.removesuffix('/api/')}/runs/flow-run/{completed['id']}" in report.read_text()


def test_the_trainings_run_side_by_side(api: Api, completed: dict[str, Any]) -> None:
    plain, batch_norm = (api.tasks(completed["id"])[f"train {name}"] for name in ("plain", "batch_norm"))
    assert max(plain["start_time"], batch_norm["start_time"]) < min(plain["end_time"], batch_norm["end_time"])


def test_the_logs_hold_the_figures_and_do_not_flood(api: Api, completed: dict[str, Any]) -> None:
    lines = until(lambda: [line for line in api.logs(completed["id"]) if line.startswith("full report")], "logs", 30)
    lines = api.logs(completed["id"])
    for model in ("plain", "batch_norm"):
        assert sum(line.startswith(f"{model}: epoch") for line in lines) == 1
        assert any(
            line.startswith(f"{model}: accuracy ") and "95 % interval" in line and f"of {data.FEW['test']}" in line
            for line in lines
        )
    assert any("The gate passed" in line for line in lines)
    assert len(lines) < 80


def test_a_failed_gate_is_told_to_the_webhook(api: Api, dataset: str, folder: Path, told: Receiver) -> None:
    text = (Path(__file__).parents[3] / "tasks/config/builtin/recipes/post.toml").read_text()
    strict = folder / "strict.toml"
    strict.write_text(text.replace("[gates.mnist]", "[gates.tiny]"))
    run = api.ended(started(api, dataset, epochs=1, recipe=str(strict)))
    assert run["state_name"] == "Failed"
    assert run["state"]["message"].count("the gate failed: ") == 1
    assert set(api.artifacts(run["id"])) >= PARTS  # the report is published before the gate fails
    body = until(lambda: next((one for one in told.received if one["run_id"] == run["id"]), None), "the webhook", 30)
    assert "the gate failed" in body["text"]
    assert body["run"] == run["name"]
    assert body["url"] == f"{api.url.removesuffix('/api/')}/runs/flow-run/{run['id']}"


def test_a_study_can_be_started_from_the_form_too(api: Api, dataset: str, completed: dict[str, Any]) -> None:
    form = api.deployment("on-demand", "study")["parameter_openapi_schema"]["properties"]
    assert list(form) == ["dataset", "recipes", "seeds", "epochs", "root", "mirrors", "runner"]
    assert all(field["description"] for field in form.values())
    response = api.start("on-demand", "study", dataset=dataset, seeds=2, epochs=1)
    assert response.status_code == 201, response.text
    run = api.ended(response.json()["id"])
    assert run["state_name"] == "Completed", run["state"]
    assert "over 2 seeds" in run["state"]["message"]
    assert "study" in api.artifacts(run["id"])
    assert api.tasks(run["id"])["train plain, seed 1"]["state_name"] == "Cached"


def in_training(api: Api, identity: str) -> bool:
    return any(": epoch 2/" in line for line in api.logs(identity))


def test_a_killed_worker_leaves_no_process_and_a_crashed_run(
    served: Serving, api: Api, dataset: str, told: Receiver, completed: dict[str, Any]
) -> None:
    identity = started(api, dataset, epochs=3000)
    until(lambda: in_training(api, identity), "the second epoch")
    running = [process for process in served.processes() if "flows.processes.tied_to_parent" not in process.cmdline()]
    assert len(running) >= 3  # the run, and a process for each model
    assert not any("uvicorn" in " ".join(process.cmdline()) for process in running)  # the run uses no separate server
    served.worker().send_signal(signal.SIGKILL)
    assert psutil.wait_procs(running, 60)[1] == []
    run = api.ended(identity)
    assert run["state_name"] == "Crashed"
    until(lambda: [one for one in told.received if one["run_id"] == identity], "the webhook", 30)

    again = api.ended(started(api, dataset, epochs=1))  # another worker has started
    assert again["state_name"] == "Completed", again["state"]
    tasks = api.tasks(again["id"])
    assert tasks["train plain"]["state_name"] == tasks["train batch_norm"]["state_name"] == "Cached"


def test_ctrl_c_ends_all_of_it_and_its_runs_say_so(served: Serving, api: Api, dataset: str, folder: Path) -> None:
    identity = started(api, dataset, epochs=2000)  # another number than in other tests, to resume no training of theirs
    until(lambda: in_training(api, identity), "the second epoch")
    assert served.stop() == []
    assert served.process.returncode == 130
    with serving(folder / "prefect", folder / "root", AUTH) as again:
        assert again.api.run(identity)["state_name"] == "Crashed"
        assert again.stop() == []


class Late(http.server.BaseHTTPRequestHandler):
    """A server that is too busy to send its first answer in time."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if len(self.asked) == 1:
            time.sleep(1)
        with suppress(BrokenPipeError):
            self.send_response(200)
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def test_a_server_that_is_too_busy_to_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_ANSWER_SECONDS", 0.2)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Late) as server,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as worker,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        serve.await_pool(serve.Served(address, tmp_path, Credential(AUTH, None), tmp_path, []), worker)
        assert Late.asked == ["/api/work_pools/mnist"] * 2
        server.shutdown()
        worker.kill()


def test_an_open_bind_is_warned_of_and_asks_for_the_secret_all_the_same(tmp_path: Path) -> None:
    port = free_port()
    everywhere = ["--host", "0.0.0.0", "--port", str(port)]  # noqa: S104
    command = [MNIST, "serve", "--no-worker", *everywhere, "--root", tmp_path / "root", "--json"]
    with subprocess.Popen(
        command, env=without_prefect(os.environ) | {"PREFECT_HOME": str(tmp_path / "home")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()  # the server is ready and has printed its warning
        address = f"http://127.0.0.1:{port}"
        answers = [httpx.get(f"{address}/api/version"), httpx.get(f"{address}/", headers={"Host": "evil.example"})]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=90)
    assert [answer.status_code for answer in answers] == [401, 400]
    assert "open to the network without TLS" in said


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path) -> None:
    folder, loaded = tmp_path / "folder", tmp_path / "loaded"
    for name in ("flows/__init__", "tasks/__init__", "deployments/__init__", "prefect", "psutil"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(
            f"open({str(loaded)!r}, 'a').write({name!r})\nraise SystemExit(9)\n", "utf-8"
        )
    with serving(tmp_path / "home", tmp_path / "root", AUTH, folder=folder) as running:
        steps = running.api.deployment("on-demand")["pull_steps"]
        assert running.stop() == []
    assert steps == [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    assert not loaded.exists()
