"""Test the flow on a real Prefect server: its states, its artifacts, and its messages."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prefect import tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from flows.mnist import mnist
from flows.study import study
from tasks.errors import ContentError, MnistError, RecipeError
from tests.support import data

pytestmark = pytest.mark.usefixtures("prefect")

PROJECT = Path(__file__).parents[3]


def latest(client: SyncPrefectClient) -> FlowRun:
    return client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]


def task_runs(client: SyncPrefectClient, run: FlowRun) -> dict[str, TaskRun]:
    which = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    found = client.read_task_runs(flow_run_filter=which, sort=TaskRunSort.END_TIME_DESC, limit=100)
    return {task.name: task for task in found}


def artifacts(client: SyncPrefectClient, run: FlowRun) -> dict[str, dict[str, Any]]:
    """Return the artifacts of one run by key, with the request that the UI sends."""
    body = {"flow_runs": {"id": {"any_": [str(run.id)]}}, "limit": 100, "offset": 0}
    response = client.request("POST", "/artifacts/filter", json=body)
    return {item["key"]: item for item in response.json()}


REFUSED: list[dict[str, Any]] = [
    {"recipe": "nope"},
    {"dataset": "nope"},
    {"epochs": 0},
    {"epochs": "three"},
    {"seed": -1},
    {"validation": 2.0},
    {"root": "/dev/null/root"},
    {"mirrors": ["ftp://host/"]},
    {"gate": "maybe"},
    {"line": "../up"},
    {"runner": "thread"},
    {"root": "gs://bucket"},
]


@pytest.mark.parametrize("parameters", REFUSED, ids=[json.dumps(parameters) for parameters in REFUSED])
def test_rejected_parameters_fail_the_run_with_the_same_message(parameters: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MnistError) as caught:
        mnist(**{"root": str(tmp_path / "root")} | parameters)
    with get_client(sync_client=True) as client:
        run = latest(client)
    assert run.state is not None
    assert run.state.is_failed()
    assert str(caught.value) in (run.state.message or "")


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"seeds": 1}, "seeds must be an integer from 2 to"),
        ({"recipes": ["post", "post"]}, "must have different names"),
    ],
)
def test_a_study_that_is_refused_is_a_failed_run_with_the_same_message(
    parameters: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MnistError, match=says) as caught:
        study(root=str(tmp_path / "root"), **parameters)
    with get_client(sync_client=True) as client:
        run = latest(client)
    assert run.state is not None
    assert run.state.is_failed()
    assert str(caught.value) in (run.state.message or "")


def test_a_bad_archive_is_a_failed_run_with_the_same_message(files: data.Files, tmp_path: Path) -> None:
    name = data.NAMES["train"][1]
    files.write(name, (files.folder / data.NAMES["test"][1]).read_bytes())
    with pytest.raises(ContentError, match=f"{name}: count 300, not 600") as caught:
        mnist(dataset=str(files.toml()), root=str(tmp_path / "root"))
    with get_client(sync_client=True) as client:
        run = latest(client)
        assert task_runs(client, run)["decode train"].state_name == "Failed"
    assert run.state is not None
    assert str(caught.value) in (run.state.message or "")
    assert not list((tmp_path / "root" / "splits").glob("train*"))


def test_a_training_that_fails_is_what_the_run_fails_with(files: data.Files, tmp_path: Path) -> None:
    """Check that the run fails with the error of the training, and not of later steps, which fail because of it."""
    text = (PROJECT / "tasks/config/builtin/recipes/post.toml").read_text()
    deep = text.replace('{ layer = "flatten" }', '{ layer = "max_pool", size = 20 },\n    { layer = "flatten" }')
    assert deep != text
    recipe = tmp_path / "deep.toml"
    recipe.write_text(deep)
    with pytest.raises(RecipeError, match=r"the layers of model '\w+' don't fit images of"):
        mnist(dataset=str(files.toml()), root=str(tmp_path / "root"), recipe=str(recipe))


@pytest.mark.usefixtures("all_cores")
def test_the_run_shows_its_graph_its_progress_and_its_artifacts(tmp_path: Path) -> None:
    files = data.make(tmp_path / "mirror", data.FEW)
    options = {"dataset": str(files.toml()), "root": str(tmp_path / "root"), "epochs": 1}
    with tags("trial"):
        result = mnist(**options)
    again = mnist.with_options(flow_run_name="Again, {epochs} ä/1")(**options)
    with get_client(sync_client=True) as client:
        run = latest(client)
        assert run.name == again.run
        assert re.fullmatch(r"\d{8}-\d{6}-again-1-a-1", again.run)
        assert set(again.tags) == set(run.tags) == {"dataset:tiny", "recipe:post", "line:main"}
        assert run.state is not None
        assert run.state.message == again.verdict
        tasks = task_runs(client, run)
        for name in again.cached:
            assert tasks[name].state_name == "Cached"
            assert tasks[name].state.message == f"computed by run {result.run}"
        assert tasks["report"].state_name == "Completed"
        assert upstream(tasks, "evaluate plain on test") == {"train plain", "decode test"}
        assert upstream(tasks, "select") == {"decode test", "evaluate plain on test", "evaluate batch_norm on test"}
        assert upstream(tasks, "explain plain") == {
            "train plain", "evaluate plain on test", "attribute plain", "select", "decode test",
        }  # fmt: skip
        assert upstream(tasks, "train plain") == {"decode train"}
        assert upstream(tasks, "analyze") == {
            "profile", "measure test", "decode train", "decode test", "train plain", "train batch_norm", "select",
            "explain plain", "explain batch_norm", "evaluate plain on test", "evaluate batch_norm on test",
            "attribute plain", "attribute batch_norm",
        }  # fmt: skip
        found = artifacts(client, run)
        assert set(found) == {
            "report", "model-plain", "model-batch-norm", "galleries", "results", "errors-by-label", "patterns", "slices",
        }  # fmt: skip
        for item in found.values():
            if item["type"] == "table":
                json.loads(item["data"], parse_constant=refused)  # rejects NaN and Infinity, which JSON can't express
        assert all(len(item["data"].encode()) < 512 * 1024 for item in found.values())
        assert "data:image/png;base64," in found["report"]["data"]
        assert result.run in found["report"]["data"]
        for key in ("model-plain", "model-batch-norm"):
            assert found[key]["data"].count("data:image/svg+xml;base64,") == 2, "its network, and VGG-16"
        rows = json.loads(found["results"]["data"])
        assert [row["model"] for row in rows] == ["plain", "batch_norm"]
        earlier = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=2)[1]
        assert earlier.name == result.run
        assert set(earlier.tags) == {"trial", *again.tags}
        assert str(again.url).endswith(f"/runs/flow-run/{run.id}")
        assert f"[{again.url}]" in found["report"]["data"] or f"<{again.url}>" in found["report"]["data"]
        progress = artifacts(client, earlier)
    for name in ("training-plain", "training-batch-norm"):
        assert float(progress[name]["data"]) == 100
        assert "epoch 1/1, loss" in progress[name]["description"]


def refused(constant: str) -> None:
    raise AssertionError(f"a table holds {constant}")


def upstream(tasks: dict[str, TaskRun], name: str) -> set[str]:
    names = {task.id: task.name for task in tasks.values()}
    return {names[item.id] for inputs in tasks[name].task_inputs.values() for item in inputs if hasattr(item, "id")}
