"""Test a run on a dataset that is too large to analyze completely: many files, samples, and a report that says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import mnist as flow
from tasks.data import split_parquet
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.history.run_store import finished_runs
from tasks.history.verify import verify_run
from tasks.schemas.analysis import Report, Sample
from tasks.schemas.records import SplitRecord
from tasks.steps import sample
from tasks.storage.content_files import require_all_valid
from tests.support import data, recipes
from tests.support.threads import in_threads

SIZE = 28 * 28
SAMPLED = 60


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the sizes of row groups, files and samples, so that 600 images are a large dataset."""
    monkeypatch.setattr(split_parquet, "_ROWS", 64)
    monkeypatch.setattr(split_parquet, "_PART_BYTES", 200 * SIZE)
    monkeypatch.setattr(sample, "_MIN_IMAGES", 10)
    monkeypatch.setattr(sample, "_MAX_IMAGES", SAMPLED)


@pytest.mark.usefixtures("_small")
def test_a_sample_keeps_what_is_known_of_its_images(splits: dict[str, SplitRecord], work: Workspace) -> None:
    whole = splits["train"]
    assert (len(whole.parts), whole.count) == (4, 600)
    assert sample.needs_sample(whole.count, whole.shape)
    drawn = sample.sample.fn(whole, work)
    assert (drawn.name, drawn.count, drawn.drawn_from) == ("train-sample", SAMPLED, 600)
    assert not sample.needs_sample(drawn.count, drawn.shape)
    all_, some = (read_split(require_all_valid(work.root, one.parts)) for one in (whole, drawn))
    assert len(set(some.indices.tolist())) == SAMPLED
    for name in ("images", "labels", "sha256", "indices"):
        np.testing.assert_array_equal(getattr(some, name), getattr(all_, name)[some.indices])
    assert sample.sample.fn(whole, work).file == drawn.file


@pytest.mark.usefixtures("_small", "prefect", "one_thread")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's warnings
def test_the_report_states_the_sample_and_names_images_by_their_index_in_the_whole_split(
    files: data.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "open_workers", in_threads)
    root = tmp_path / "root"
    options: dict[str, Any] = {"recipe": recipes.pair(tmp_path), "root": str(root), "validation": 0.1, "gate": False}
    result = flow.mnist(dataset=str(files.toml()), **options)
    found = Report.model_validate_json((root / result.report["json"]).read_bytes()).analysis
    assert found.samples == (
        Sample(split="train", count=SAMPLED, drawn_from=600),
        Sample(split="test", count=SAMPLED, drawn_from=300),
    )
    said = f"everything else is computed from {SAMPLED} of the 600 train and {SAMPLED} of the 300 test images, drawn at random"
    for kind in ("html", "markdown"):
        assert said in (root / result.report[kind]).read_text()

    (run,) = finished_runs(root)
    for model in found.models:
        assert model.accuracy.total == 300
        assert model.errors == run.of(model.name).errors
        assert sum(map(sum, model.confusion)) == SAMPLED
        assert model.held_out == 60
    for record, pictures in ((run.test, found.pictures), (run.train, found.training_pictures)):
        whole = read_split(require_all_valid(root, record.parts))
        assert pictures
        assert any(one.number != one.index for one in pictures)
        for one in pictures:
            assert one.sha256 == whole.sha256[one.number].tobytes().hex()
            assert one.label == whole.labels[one.number]

    links = list(verify_run(root, run))
    assert not [link for link in links if link.fault]
    assert sum(link.role == "decode train" for link in links) == 4
    again = flow.mnist(dataset=str(files.toml()), **options)
    assert not [step.name for step in again.steps if not step.cached and not step.always_runs], json.dumps(
        [step.why for step in again.steps]
    )
