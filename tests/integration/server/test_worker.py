"""Test the worker of `mnist serve`: it rejects every attack of `tests.reliability.attack_worker`.

Afterwards, it still runs the project's flows, and those of the schedules as of their scheduled dates.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tasks.history.run_store import finished_runs
from tasks.storage.backend import open_root
from tests.reliability.attack_worker import ATTACKS, RACES, TEMPLATES, main
from tests.support import data, recipes
from tests.support.serving import QUICK, Api, Serving, serving, until

AUTH = "mnist:s3cret"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("worker")
    with serving(folder / "prefect", folder / "root", AUTH, **QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(served: Serving) -> dict[str, tuple[str, bool]]:
    done = CliRunner(catch_exceptions=False).invoke(main, [served.api.url], env={"PREFECT_API_AUTH_STRING": AUTH})
    *lines, total = done.stdout.splitlines()
    found = [re.split(r"  +", line, maxsplit=2) for line in lines]
    assert total == f"{sum(verdict != 'rejected' for verdict, _, _ in found)} attacks succeeded"
    return {name: (ended, verdict == "rejected") for verdict, name, ended in found}


@pytest.mark.timeout(600)  # about forty runs, one after the other
@pytest.mark.parametrize("name", [*ATTACKS, *TEMPLATES, *RACES, "no cluster was called"])
def test_an_attack_runs_no_code(outcomes: dict[str, tuple[str, bool]], name: str) -> None:
    ended, fine = outcomes[name]
    assert fine, ended


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the parameters of the flows that name their inputs."""
    folder = tmp_path_factory.mktemp("inputs")
    return {"dataset": str(data.make(folder, data.FEW).toml()), "recipe": recipes.single(folder)}


def test_the_same_worker_goes_on_and_runs_a_study(
    served: Serving, outcomes: dict[str, tuple[str, bool]], inputs: dict[str, str]
) -> None:
    study = {"dataset": inputs["dataset"], "recipes": [inputs["recipe"]], "seeds": 2}
    response = served.api.start("on-demand", "study", epochs=1, **study)
    run = served.api.ended(response.json()["id"])
    assert run["state_name"] == "Completed", run["state"]
    assert len(outcomes) >= 30


def scheduled(api: Api, deployment: str, at: str, **parameters: Any) -> dict[str, Any]:
    """Start a run of a deployment with a scheduled date in the past, and return it after it has ended."""
    identity = api.deployment(deployment)["id"]
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at}}
    response = api.post(f"deployments/{identity}/create_flow_run", {"parameters": parameters, "state": state})
    assert response.status_code == 201, response.text
    return api.ended(response.json()["id"])


def test_each_nightly_run_trains_again_and_is_compared_with_the_run_before(
    served: Serving, outcomes: dict[str, tuple[str, bool]], inputs: dict[str, str], tmp_path: Path
) -> None:
    assert outcomes  # the worker has been attacked before
    api, root = served.api, tmp_path / "nights"
    given = {**inputs, "epochs": 1, "root": str(root), "gate": False}
    dates = [("nightly", 22, 2), ("weekly", 22, 4), ("nightly", 23, 2), ("nightly", 23, 2)]
    ended = [scheduled(api, name, f"2026-11-{day}T{hour:02}:00:00Z", **given) for name, day, hour in dates]
    assert {run["state_name"] for run in ended} == {"Completed"}, [run["state"]["message"] for run in ended]
    names = [run.run for run in finished_runs(open_root(str(root)))]
    assert [run["name"] for run in ended] == names
    assert [name[:16] for name in names] == [f"202611{day}-{hour:02}0000-" for _, day, hour in dates]
    automatic = {"dataset:tiny", "recipe:small", "line:nightly"}
    assert set(ended[0]["tags"]) == {"mnist", "nightly", *automatic}

    states = [{name: task["state_name"] for name, task in api.tasks(run["id"]).items()} for run in ended]
    trained = [found["train plain"] for found in states]
    # On a Sunday, the weekly run has the same seed as the nightly run; in this test, both also train for one epoch.
    assert trained == ["Completed", "Cached", "Completed", "Cached"]
    data_steps = [name for name in states[0] if name.startswith(("download", "decode"))]
    assert len(data_steps) == 6
    assert {found[name] for found in states[1:] for name in data_steps} == {"Cached"}

    first, _weekly, second, again = names
    before = [
        re.search(r"Compared with run \*\*(\S+)\*\*", (root / "runs" / name / "report.md").read_text())
        for name in (second, again)
    ]
    assert [found and found[1] for found in before] == [first, first], "a retry is not compared with itself"

    state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
    api.post(f"flow_runs/{ended[3]['id']}/set_state", {"state": state, "force": True}).raise_for_status()
    retried = until(lambda: (run := api.ended(ended[3]["id"]))["run_count"] == 2 and run, "the retry")
    assert (retried["name"], retried["tags"]) == (again, ended[3]["tags"])
    assert [run.run for run in finished_runs(open_root(str(root)))] == names
    assert sorted(path.name for path in (root / "runs").iterdir()) == sorted(names)
