"""Test a run on a dataset that is too large to analyze completely: many files, samples, and a report that says so."""

import json
from pathlib import Path

import numpy as np
import pytest

from flows.mnist import mnist
from tasks.data import split_parquet
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.history.run_store import finished_runs
from tasks.history.verify import verify_run
from tasks.schemas.analysis import Report, Sample
from tasks.schemas.records import SplitRecord
from tasks.steps import sample
from tasks.storage.content_files import require_all_valid
from tests.support import data

SIZE = 28 * 28
RECIPE = 'base = "post"\nname = "quick"\nepochs = 2\nbatch = 32\nvalidation = 0.1\n'


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the sizes of row groups, files and samples, so that 600 images are a large dataset."""
    monkeypatch.setattr(split_parquet, "_ROWS", 64)
    monkeypatch.setattr(split_parquet, "_PART_BYTES", 200 * SIZE)
    monkeypatch.setattr(sample, "_LEAST", 10)
    monkeypatch.setattr(sample, "_MOST", 100)


@pytest.mark.usefixtures("_small")
def test_a_sample_keeps_what_is_known_of_its_images(splits: dict[str, SplitRecord], work: Workspace) -> None:
    whole = splits["train"]
    assert (len(whole.parts), whole.count) == (4, 600)
    assert sample.needs_sample(whole)
    drawn = sample.sample.fn(whole, work)
    assert (drawn.name, drawn.count, drawn.drawn_from) == ("train-sample", 100, 600)
    assert not sample.needs_sample(drawn)
    all_, some = (read_split(require_all_valid(work.root, one.parts)) for one in (whole, drawn))
    assert len(set(some.indices.tolist())) == 100
    for name in ("images", "labels", "sha256", "indices"):
        np.testing.assert_array_equal(getattr(some, name), getattr(all_, name)[some.indices])
    assert sample.sample.fn(whole, work).file == drawn.file


@pytest.mark.usefixtures("_small", "prefect")
def test_the_report_says_what_was_looked_at_and_names_images_by_their_place_in_the_whole(
    files: data.Files, tmp_path: Path
) -> None:
    root, recipe = tmp_path / "root", tmp_path / "quick.toml"
    recipe.write_text(RECIPE)
    result = mnist(dataset=str(files.toml()), recipe=str(recipe), root=str(root), gate=False)
    found = Report.model_validate_json((root / result.report["json"]).read_bytes()).analysis
    assert found.samples == (
        Sample(split="train", count=100, drawn_from=600),
        Sample(split="test", count=100, drawn_from=300),
    )
    said = "everything else is computed from 100 of the 600 train and 100 of the 300 test images, drawn at random"
    for kind in ("html", "markdown"):
        assert said in (root / result.report[kind]).read_text()

    (run,) = finished_runs(root)
    for model in found.models:
        assert model.accuracy.total == 300
        assert model.errors == run.of(model.name).errors
        assert sum(map(sum, model.confusion)) == 100
        assert model.held_out == 60
    for record, pictures in ((run.test, found.pictures), (run.train, found.trained)):
        whole = read_split(require_all_valid(root, record.parts))
        assert pictures
        assert any(one.number != one.index for one in pictures)
        for one in pictures:
            assert one.sha256 == whole.sha256[one.number].tobytes().hex()
            assert one.label == whole.labels[one.number]

    links = list(verify_run(root, run))
    assert not [link for link in links if link.fault]
    assert sum(link.role == "decode train" for link in links) == 4
    again = mnist(dataset=str(files.toml()), recipe=str(recipe), root=str(root), gate=False)
    assert not [step.name for step in again.steps if not step.cached], json.dumps([step.why for step in again.steps])
