"""Test the command `study` on tiny real data."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tasks.history.run_store import read_runs
from tasks.schemas.runs import StudyRun
from tasks.schemas.study import Study
from tests.support import data, recipes
from tests.support.command import Mnist
from tests.support.plans import named


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "root"


@pytest.fixture(scope="module")
def small(root: Path) -> list[str]:
    return ["--recipe", recipes.pair(root.parent)]


@pytest.fixture(scope="module")
def options(root: Path) -> list[str]:
    toml = data.make(root.parent / "mirror", data.FEW).toml()
    return ["--dataset", str(toml), "--root", str(root), "--epochs", "1"]


@pytest.fixture(scope="module")
def first(mnist: Mnist, options: list[str], small: list[str]) -> dict[str, Any]:
    named = ["--flow-run-name", "Two seeds", "--tag", "trial"]
    return mnist.result("study", "--seeds", "2", *named, *options, *small)


def test_every_model_is_trained_with_every_seed(first: dict[str, Any], root: Path) -> None:
    assert first["seeds"] == [1, 2]
    assert [arm["name"] for arm in first["arms"]] == ["plain", "batch_norm"]
    assert all(len(arm["errors"]) == 2 for arm in first["arms"])
    (pair,) = first["pairs"]
    errors = {arm["name"]: arm["errors"] for arm in first["arms"]}
    expected = [
        (plain - bn) / data.FEW["test"] for plain, bn in zip(errors["plain"], errors["batch_norm"], strict=True)
    ]
    assert pair["by_seed"] == pytest.approx(expected)
    assert f"{100 * pair['over_both']['value']:+.2f} points (95 % interval" in first["verdict"]
    study = Study.model_validate_json((root / first["report"]["json"]).read_bytes())
    assert study.claim is None, "the post knew no such data"
    for arm in study.arms:
        assert sum(arm.wrong_by) == data.FEW["test"]
        assert sum(number * count for number, count in enumerate(arm.wrong_by)) == sum(arm.errors)
    assert all(sum(one.wrong) > 1 for one in study.hard)
    assert study.confusions
    assert all((one.first, one.second) == ("plain", "batch_norm") for one in study.confusions)
    assert all(one.difference.value == pytest.approx(one.by_second - one.by_first) for one in study.confusions)
    assert "### Changes in the most frequent confusions" in (root / first["report"]["markdown"]).read_text()


def test_a_study_counts_its_trainings_for_the_ui_and_the_terminal(first: dict[str, Any]) -> None:
    assert first["run"]
    key = ArtifactFilter(key=ArtifactFilterKey(any_=["trainings"]))
    with get_client(sync_client=True) as client:
        shown = {(one.data, one.description) for one in client.read_artifacts(artifact_filter=key)}
    assert (100, "trainings: 4 of 4") in shown


def test_a_larger_study_trains_only_what_is_missing(
    mnist: Mnist, first: dict[str, Any], options: list[str], small: list[str]
) -> None:
    plan = mnist.result("study", "--seeds", "3", *options, *small, "--dry-run")
    assert named(plan, "compute") == {"train plain, seed 3", "train batch_norm, seed 3", "analyze study"}
    assert named(plan, "depends") == {"evaluate plain, seed 3", "evaluate batch_norm, seed 3"}
    larger = mnist.result("study", "--seeds", "3", *options, *small)
    assert [step["kind"] for step in plan["steps"]] == [step["origin"]["kind"] for step in larger["steps"]]
    computed = [step["name"] for step in larger["steps"] if not step["cached"] and not step["always_runs"]]
    assert sorted(computed) == sorted(
        ["train plain", "train batch_norm", "evaluate plain on test", "evaluate batch_norm on test", "analyze study"]
    )
    for before, now in zip(first["arms"], larger["arms"], strict=True):
        assert now["errors"][:2] == before["errors"]


def test_a_run_finds_what_a_study_has_trained(
    mnist: Mnist, first: dict[str, Any], options: list[str], small: list[str]
) -> None:
    found = mnist.result("run", *options, *small, "--seed", "2", "--no-gate")
    assert {"train plain", "train batch_norm", "evaluate plain on test"} <= set(found["cached"])
    assert found["models"]["plain"]["errors"] == first["arms"][0]["errors"][1]


def test_a_study_is_listed_verified_and_kept(mnist: Mnist, first: dict[str, Any], root: Path) -> None:
    assert first["run"].endswith("-two-seeds")
    (listed,) = mnist.result("runs", "--tag", "trial", "--root", root)["studies"]
    assert (listed["run"], listed["url"]) == (first["run"], first["url"])
    assert listed["tags"] == first["tags"] == ["trial", "dataset:tiny", "recipe:small"]
    assert first["run"] in mnist("runs", "--root", root).stdout
    links = mnist.result("verify", first["run"], "--root", root)["links"]
    assert {"train plain", "evaluate plain on test", "analyze study", "report", "run"} <= {
        link["role"] for link in links
    }
    assert mnist("prune", "--keep", "9", "--root", root).returncode == 0
    studies, unreadable = read_runs(root, StudyRun)
    assert not unreadable
    assert all((root / link.file.path).is_file() for study in studies for link in study.manifest)


def test_recipes_are_compared_with_each_other(
    mnist: Mnist, options: list[str], small: list[str], tmp_path: Path
) -> None:
    other = tmp_path / "slow.toml"
    other.write_text(
        recipes.PAIR.replace('"small"', '"slow"').replace("learning_rate = 0.01", "learning_rate = 0.0001")
    )
    found = mnist.result("study", "--seeds", "2", *small, "--recipe", str(other), *options)
    assert [arm["name"] for arm in found["arms"]] == [
        "plain (small)", "batch_norm (small)", "plain (slow)", "batch_norm (slow)"
    ]  # fmt: skip
    assert len(found["pairs"]) == 6


def test_bad_input_is_refused_in_one_line(mnist: Mnist, options: list[str]) -> None:
    done = mnist("study", "--recipe", "nowhere", *options)
    assert done.returncode == 2
    assert "unknown recipe 'nowhere'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
