"""Test the worker of `mnist serve`: it rejects every attack of `tests.reliability.attack_worker`.

Afterwards, it still runs the project's flows.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.reliability.attack_worker import ATTACKS, RACES, TEMPLATES, main
from tests.support import data
from tests.support.serving import Serving, serving

AUTH = "mnist:s3cret"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("worker")
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "2"}
    with serving(folder / "prefect", folder / "root", AUTH, **quick) as running:
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


def test_the_same_worker_goes_on_and_runs_the_projects_flows(
    served: Serving, outcomes: dict[str, tuple[str, bool]], tmp_path: Path
) -> None:
    dataset = str(data.make(tmp_path, data.FEW).toml())
    for flow, more in (("mnist", {}), ("study", {"seeds": 2})):
        response = served.api.start("on-demand", flow, dataset=dataset, epochs=1, **more)
        run = served.api.ended(response.json()["id"])
        assert run["state_name"] == "Completed", run["state"]
    assert len(outcomes) >= 30
