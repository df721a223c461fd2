"""Test a recipe with an ensemble: in a run, on corrupted images, and in a study."""

from pathlib import Path
from typing import Any

import pytest

from tasks.data.predictions_parquet import read_predictions
from tasks.schemas.analysis import Report
from tests.support import data
from tests.support.command import Mnist

RECIPE = """
base = "post"
name = "mine"
epochs = 1
augmentation = { shift = 1, rotation = 10, specks = { share = 0.5 } }
weight_averaging = 0.5

[[models]]
name = "tiny"
layers = [
    { layer = "conv", filters = 4, kernel = 3, stride = 2 },
    { layer = "max_pool", size = 2 },
    { layer = "flatten" },
    { layer = "dropout", rate = 0.2 },
]

[[ensembles]]
name = "several"
members = ["tiny"]
seeds = 3
tta_shift = 1
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("ensembles")
    (folder / "mine.toml").write_text(RECIPE)
    toml = data.make(folder / "mirror", data.FEW).toml()
    return ["--dataset", str(toml), "--recipe", str(folder / "mine.toml"), "--root", str(folder / "root")]


@pytest.fixture(scope="module")
def ran(mnist: Mnist, options: list[str]) -> dict[str, Any]:
    return mnist.result("run", *options, "--no-gate", "--robustness")


@pytest.fixture(scope="module")
def report(ran: dict[str, Any], options: list[str]) -> Report:
    return Report.model_validate_json((Path(options[5]) / ran["report"]["json"]).read_bytes())


def test_an_ensemble_is_a_model_like_any_other(ran: dict[str, Any], report: Report, options: list[str]) -> None:
    assert list(ran["models"]) == ["tiny", "several"]
    tiny, several = ran["models"].values()
    assert several["parameters"] == 3 * tiny["parameters"]
    steps = [step["name"] for step in ran["steps"]]
    assert steps.count("train tiny") == 3
    assert {"combine several", "attribute several", "explain several", "stress several"} <= set(steps)
    assert [model.name for model in report.analysis.models] == ["tiny", "several"]
    assert (report.analysis.comparisons[0].first, report.analysis.comparisons[0].second) == ("tiny", "several")
    preview = report.analysis.augmentation_preview
    assert preview
    assert len(preview.before) == len(preview.after) == 20
    assert preview.before != preview.after
    kept = read_predictions(Path(options[5]) / several["predictions"])
    assert kept.meta.model == "several"


def test_corrupted_images_have_a_section_of_the_report(ran: dict[str, Any], report: Report, options: list[str]) -> None:
    found = report.analysis.robustness
    assert found
    assert found.images == data.FEW["test"]
    assert [model.model for model in found.models] == ["tiny", "several"]
    assert found.models[0].clean.count == data.FEW["test"] - ran["models"]["tiny"]["errors"]
    markdown = (Path(options[5]) / ran["report"]["markdown"]).read_text()
    assert "## Corrupted images" in markdown
    assert all(f"| {kind} |" in markdown for kind in found.examples)
    assert "## Corrupted images" in markdown.split("## Saliency maps")[0]


def test_a_second_run_computes_nothing_and_evaluates_corruptions_only_on_request(
    mnist: Mnist, ran: dict[str, Any], options: list[str]
) -> None:
    again = mnist.result("run", *options, "--no-gate")
    computed = {step["name"] for step in again["steps"] if not step["cached"] and not step["always_runs"]}
    assert computed <= {"analyze", "draw"}
    assert not [step for step in again["steps"] if step["name"].startswith("stress")]
    assert "## Corrupted images" not in (Path(options[5]) / again["report"]["markdown"]).read_text()


def test_a_study_gives_each_ensemble_seeds_of_its_own(mnist: Mnist, ran: dict[str, Any], options: list[str]) -> None:
    found = mnist.result("study", "--seeds", "2", *options)
    tiny, several = found["arms"]
    assert (tiny["name"], several["name"]) == ("tiny", "several")
    assert several["errors"][0] == ran["models"]["several"]["errors"]
    steps = [step["name"] for step in found["steps"]]
    assert steps.count("train tiny") == 6, "seeds 1 to 3, and 4 to 6; the seeds 1 and 2 alone are among them"
    assert len([step for step in found["steps"] if step["name"] == "train tiny" and step["cached"]]) == 3


def test_all_files_of_an_ensemble_run_are_verified(mnist: Mnist, ran: dict[str, Any], options: list[str]) -> None:
    roles = [link["role"] for link in mnist.result("verify", ran["run"], "--root", options[5])["links"]]
    assert roles.count("train tiny") == 3
    assert roles.count("combine several") == 4, "the model, and what it was made of"
