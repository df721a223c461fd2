"""Test what the commands about earlier runs print and write, on a root with small finished runs."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from flows.cli.outcome import run_outcome
from flows.cli.run import cli
from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.history.champions import append_entry
from tasks.history.run_store import save_run
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import Champion, FlowRun, RunRecord, StudyRun, champion_line
from tasks.storage.content_files import move_into_store
from tasks.storage.roots import validate_root
from tests.support.finished import finished
from tests.support.samples import FIRST, SECOND
from tests.support.written import write_predictions


def with_two_models(run: RunRecord, work: Workspace, **changes: Any) -> RunRecord:
    """Return a run with a second model, `other`, which classifies three more images correctly than `plain`."""
    path = work.root / "predicted.parquet"
    meta = FIRST.meta.model_copy(update={"model_sha256": run.models[0].file.sha256})
    write_predictions(path, SECOND.model_copy(update={"meta": meta}))
    file = move_into_store(work.root, "predictions", "other-test", ".parquet", path)
    models = (*run.models, run.models[0].model_copy(update={"name": "other"}))
    predictions = (*run.predictions, run.predictions[0].model_copy(update={"model": "other", "file": file}))
    return save_run(run.model_copy(update={"models": models, "predictions": predictions, **changes}), work)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(root=validate_root(tmp_path / "root"), run="this-run")


@pytest.fixture
def runs(work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset) -> list[RunRecord]:
    """Return two runs of one recipe, and a run of another dataset with the same test images."""
    return [
        with_two_models(finished(work, splits, tiny, number), work, number=number, dataset=dataset)
        for number, dataset in ((1, "tiny"), (2, "tiny"), (3, "smaller"))
    ]


def mnist(work: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--root", str(work.root)])


def refusal(work: Workspace, *arguments: str) -> str:
    """Return the line that a command with exit code 2 prints."""
    code, line = run_outcome([*arguments, "--root", str(work.root)])
    assert code == 2
    return line


def test_two_models_of_one_run_are_named_in_the_order_given(work: Workspace, runs: list[RunRecord]) -> None:
    there = mnist(work, "compare", "last:plain", "last:other").stdout
    assert f"plain (first) and other (second) of {runs[2].run}" in there
    assert "other minus plain" in there
    back = mnist(work, "compare", "last:other", "last:plain").stdout
    assert f"other (first) and plain (second) of {runs[2].run}" in back
    assert "plain minus other" in back
    for printed in (there, back):
        assert not {"newly", "before", "now,"} & set(printed.split())


def test_every_comparison_has_its_own_page(work: Workspace, runs: list[RunRecord]) -> None:
    first, second = (run.run for run in runs[:2])
    pairs = [("last:plain", "last:other"), ("last:other", "last:plain"), (first, second), (second, first),
             (f"{first}:plain", f"{second}:other"), (f"{first}:plain", second)]  # fmt: skip
    pages = [json.loads(mnist(work, "compare", *pair, "--json").stdout)["report"] for pair in pairs]
    assert len({*pages}) == len(pairs)
    assert all((work.root / page).is_file() for page in pages)
    page = (work.root / pages[0]).read_text()
    assert f"Both models belong to run <strong>{runs[2].run}</strong>" in page
    assert "misclassified only by plain" in page
    assert "newly" not in page


def test_only_a_later_repetition_has_new_and_fixed_errors(work: Workspace, runs: list[RunRecord]) -> None:
    first, second, _ = (run.run for run in runs)
    night = mnist(work, "compare", first, second).stdout
    assert f"{second} compared with {first}" in night
    assert "newly misclassified" in night
    assert "plain now, not inferior to plain before" in night
    back = mnist(work, "compare", second, first).stdout
    assert f"{second} (first) and {first} (second)" in back
    assert "newly" not in back
    assert f"plain of {first}, not inferior to plain of {second}" in back


@pytest.mark.parametrize("settings", [{"seed": 2}, {"epochs": 2}])
def test_a_run_with_another_seed_or_other_epochs_is_no_repetition(
    work: Workspace, runs: list[RunRecord], settings: dict[str, int]
) -> None:
    other = save_run(runs[1].model_copy(update={"recipe": runs[1].recipe.model_copy(update=settings)}), work)
    printed = mnist(work, "compare", runs[0].run, other.run).stdout
    assert f"{runs[0].run} (first) and {other.run} (second)" in printed
    assert "newly" not in printed


def test_runs_of_two_datasets_are_told_apart_by_dataset(work: Workspace, runs: list[RunRecord]) -> None:
    printed = mnist(work, "compare", runs[0].run, "last").stdout
    assert f"{runs[0].run} (first, dataset tiny) and {runs[2].run} (second, dataset smaller)" in printed
    assert "first-only correct" in printed
    assert "newly" not in printed


@pytest.mark.parametrize("pair", [("last", "last"), ("last:plain", "last:plain"), ("last:plain", "last")])
def test_a_run_or_a_model_is_not_compared_with_itself(
    work: Workspace, runs: list[RunRecord], pair: tuple[str, str]
) -> None:
    line = refusal(work, "compare", *pair)
    assert f"run {runs[2].run} with itself; give another run, or two models of this run as last:MODEL" in line
    assert "(it has plain, other)" in line
    assert not list(work.root.glob("comparisons/*"))


def test_a_study_is_named_as_what_it_is(work: Workspace, runs: list[RunRecord]) -> None:
    shared = {name: getattr(runs[0], name) for name in ("began", "dataset", "train", "test", "libraries", "code")}
    save_run(StudyRun(**shared, run="20260109-000000-a-study", trials=(), verdict=""), work)
    assert refusal(work, "compare", "a-study", "last").startswith("20260109-000000-a-study is a study, not a run")


def crown(run: RunRecord, work: Workspace, number: int = 1) -> None:
    """Make the first model of a run the champion of its line."""
    entry = Champion(number=number, at=run.began, action="promoted", dataset=run.dataset, run=run.run, model=run.models[0],
                     predictions=run.predictions[0], rollback_to=number - 1 or None)  # fmt: skip
    append_entry(entry, champion_line(run), work.root)


def test_champion_lines_have_the_names_that_users_gave(work: Workspace, runs: list[RunRecord]) -> None:
    for number, run in enumerate(runs[:2], start=1):
        crown(run, work, number)
    assert "champion line main\n" in mnist(work, "champion").stdout
    assert "the champion is again plain" in mnist(work, "champion", "rollback", "main").stdout
    states = [line.split("│")[-2].strip() for line in mnist(work, "champion").stdout.splitlines() if "│" in line]
    assert states == ["promoted", "promoted, then rolled back", "restored by a rollback, in effect"]
    crown(runs[2], work)
    crown(runs[2].model_copy(update={"line": "nightly"}), work)
    printed = mnist(work, "champion", "list").stdout
    assert [line for line in printed.splitlines() if line.startswith("champion line")] == [
        "champion line smaller:main", "champion line nightly", "champion line tiny:main",
    ]  # fmt: skip
    assert "rollback --lift tiny:main" not in printed
    lines = json.loads(mnist(work, "champion", "list", "--json").stdout)["lines"]
    assert sorted(lines) == ["smaller:main", "smaller:nightly", "tiny:main"]
    assert refusal(work, "champion", "rollback", "main") == (
        "2 champion lines are named 'main'; give smaller:main or tiny:main"
    )
    assert refusal(work, "champion", "rollback").endswith("give one of them: smaller:main, nightly, tiny:main")
    assert refusal(work, "champion", "rollback", "nightly") == "there is no earlier champion of nightly to roll back to"
    assert mnist(work, "champion", "rollback", "tiny:main", "--lift").exit_code == 0


def test_verify_lists_every_invalid_file_and_counts_the_others(work: Workspace, runs: list[RunRecord]) -> None:
    sound = mnist(work, "verify", runs[0].run).stdout
    files = len(json.loads(mnist(work, "verify", runs[0].run, "--json").stdout)["links"])
    assert sound == f"run {runs[0].run}: {files} files, all unchanged\n"
    broken = [entry.file.path for entry in runs[0].manifest[-2:]]
    for path in broken:
        (work.root / path).write_bytes(b"")
    done = mnist(work, "verify", runs[0].run)
    assert all(path in done.stdout for path in broken)
    assert runs[0].manifest[0].file.path not in done.stdout
    assert f"run {runs[0].run}: {files} files, {files - 2} unchanged" in done.stdout
    assert "(and 1 more, listed above)" in str(done.exception)


@pytest.fixture
def tagged(work: Workspace, runs: list[RunRecord]) -> RunRecord:
    """Return the second run, with tags."""
    tags = ("trial", "new data", "line:main")
    flow_run = FlowRun(id=UUID(int=1), flow=UUID(int=2), at="http://prefect.example/api", root="/root", tags=tags)
    return save_run(runs[1].model_copy(update={"flow_run": flow_run}), work)


def test_runs_are_listed_with_the_tags_that_users_gave(work: Workspace, tagged: RunRecord) -> None:
    lines = mnist(work, "runs").stdout.splitlines()
    assert "tags" in lines[1]
    (line,) = (line for line in lines if tagged.run in line)
    assert "trial, new data " in line
    assert "line:main" not in line, "other columns show the parameters"


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["trial"], True),
        (["trial", "new data"], True),
        (["line:main"], True),
        (["trial", "nope"], False),
        (["tri"], False),
    ],
)
def test_runs_are_listed_by_tag(work: Workspace, tagged: RunRecord, tags: list[str], found: bool) -> None:
    options = [part for tag in tags for part in ("--tag", tag)]
    listed = json.loads(mnist(work, "runs", "--json", *options).stdout)
    assert [one["run"] for one in listed["runs"]] == ([tagged.run] if found else [])
    assert listed["studies"] == []
    if not found:
        assert f"with the tag {tags[-1]}" in mnist(work, "runs", *options).stdout


def test_runs_have_their_address_in_the_ui_in_wide_tables_and_in_json(work: Workspace, tagged: RunRecord) -> None:
    url = f"http://prefect.example/runs/flow-run/{UUID(int=1)}"
    listed = json.loads(mnist(work, "runs", "--json").stdout)["runs"]
    assert {one["run"]: one["url"] for one in listed if one["url"]} == {tagged.run: url}
    assert url in mnist(work, "runs", "--wide").stdout
    assert "http" not in mnist(work, "runs").stdout
