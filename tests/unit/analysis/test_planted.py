"""Plant defects in real data: the report must lead its reader to each of them."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts.report.highlights import standouts
from tasks.config.dataset import load_dataset
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis
from tasks.steps.train import train
from tests.conftest import decoded
from tests.support import data
from tests.support.chain import analyzed

COUNTS = {"train": 20_000, "test": 1_000}
ENOUGH = {"batch": 128, "epochs": 2}  # enough steps to train on a third of the images
SWAPPED = 200
CORNER = slice(0, 3)  # rows and columns

Images = NDArray[np.uint8]


pytestmark = pytest.mark.usefixtures("one_thread")


def analysis_of(folder: Path, plant: data.Plant, seed: int = 1) -> Analysis:
    """Run all steps from archives with a planted defect to the analysis."""
    source = load_dataset(str(data.make(folder / "mirror", COUNTS, plant).toml()))
    work, plan = (
        Workspace(root=folder / "root", run="planted"),
        load_recipe("post").model_copy(update=ENOUGH | {"seed": seed}),
    )
    splits = decoded(source, work)
    models = {training.network.name: train.fn(training, splits["train"], work) for training in plan.trainings()}
    record = analyzed(source, plan, splits, models, work)
    return Analysis.model_validate_json((work.root / record.file.path).read_bytes())


@cache
def different_in_each_split(folder: Path) -> tuple[list[int], Analysis]:
    """Return the training images whose labels are swapped, and the analysis; in the test split, the nines are dirty."""
    planted: list[int] = []

    def swap_or_dirty(split: str, images: Images, labels: Images) -> None:
        if split == "train":
            planted.extend(np.flatnonzero(labels == 7)[:SWAPPED].tolist())
            labels[planted] = 1
        else:
            images[labels == 9, 0:9, 0:9] = 255

    return planted, analysis_of(folder, swap_or_dirty)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


def test_swapped_labels_are_label_issues_of_the_training_split(folder: Path) -> None:
    planted, found = different_in_each_split(folder)
    (of_training,) = (one for one in found.label_issues if one.split == "train")
    pattern = of_training.patterns[0]
    assert (pattern.label, pattern.predicted) == (1, 7)
    assert pattern.count > 0.4 * SWAPPED
    assert {one.index for one in of_training.shown if one.label == 1} <= set(planted)
    assert sum(one.label == 1 for one in of_training.shown) > 12
    (said,) = (line for line in standouts(found) if "labeled 1" in line and "predict 7" in line)
    assert said.startswith(f"possible label errors: {pattern.count} train images")


def test_dirt_in_the_corner_of_all_nines_is_where_the_models_look(tmp_path: Path) -> None:
    def dirty(_: str, images: Images, labels: Images) -> None:
        images[labels == 9, CORNER, CORNER] = 255

    found = analysis_of(tmp_path, dirty, seed=2)  # with this seed, both models use the dirt
    for model in found.models:
        saliency_maps = {one.label: one for one in model.saliency_maps}
        assert max(saliency_maps[9].row, saliency_maps[9].column) <= 4  # the window of 5 around it covers dirt
        assert saliency_maps[9].ink_here == 1
        assert all(one.row > 4 or one.column > 4 for label, one in saliency_maps.items() if label != 9)
        assert any(f"{model.name} relies on" in line and "for label 9" in line for line in standouts(found))
    assert not [line for line in standouts(found) if " relies on " in line and "label 9" not in line]


def test_erasing_dirt_that_the_training_images_lack_corrects_predictions(folder: Path) -> None:
    _, found = different_in_each_split(folder)
    assert found.labels[0].label == 9
    assert found.labels[0].stands_out(0)
    lines = standouts(found)
    assert any("label 9, error rate" in line for line in lines)
    assert any("erasing a patch at the top left corrects" in line and "label 9" in line for line in lines)
    two_pieces = next(part for part in found.slices if part.feature == "components" and part.low == 2)
    assert any(two_pieces.stands_out(rank) for rank in range(2))
    assert any("components 2" in line for line in lines)
