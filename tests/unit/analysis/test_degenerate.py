"""Test data and models without anything to measure: every step after the training returns finite numbers or none.

The models are made by hand, because only their predictions matter: random weights, or weights that always predict correctly,
always incorrectly, or the same for every image.
"""

import json
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from artifacts.common.plotting import figure_url
from artifacts.report import tables
from artifacts.report.figures import figures_of
from artifacts.report.renderer import Rendering
from tasks.config.dataset import load_dataset
from tasks.config.recipe import load_recipe
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis, Provenance, Report
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.storage.content_files import require_valid
from tasks.training.keras_runtime import seed_everything
from tasks.training.network import save_model
from tests.conftest import decoded
from tests.support import data
from tests.support.chain import analyzed
from tests.support.samples import model as record_like

pytestmark = pytest.mark.usefixtures("one_thread")

Arrays = dict[str, tuple[NDArray[np.uint8], NDArray[np.int16]]]
Kernel = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # replaces a random kernel


def digits(train: int, test: int) -> Arrays:
    """Return MNIST's first images."""
    counts = {"train": train, "test": test}
    return {
        split: (data.first(images, counts[split]), data.first(labels, counts[split]).astype(np.int16))
        for split, (images, labels) in data.NAMES.items()
    }


def noise(train: int, test: int, classes: int, shape: tuple[int, ...]) -> Arrays:
    """Return noise, with the labels in turn."""
    rng = np.random.default_rng(1)
    return {
        split: (rng.integers(0, 256, (count, *shape)).astype(np.uint8), (np.arange(count) % classes).astype(np.int16))
        for split, count in (("train", train), ("test", test))
    }


def two_tones(train: int, test: int) -> Arrays:
    """Return black images with label 0, and white images with label 1."""
    return {
        split: (np.repeat(labels.astype(np.uint8) * 255, 16).reshape(-1, 4, 4), labels)
        for split, labels in (
            ("train", np.arange(train, dtype=np.int16) % 2),
            ("test", np.arange(test, dtype=np.int16) % 2),
        )
    }


def of_one_label(arrays: Arrays, *splits: str) -> Arrays:
    return {split: (images, labels * (split not in splits)) for split, (images, labels) in arrays.items()}


def black(arrays: Arrays) -> Arrays:
    return {split: (images * 0, labels) for split, (images, labels) in arrays.items()}


def as_drawn(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return kernel


def constant(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return kernel * 0


def right(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Predict the second label for a white image, and the first label for a black one, which gives no activation."""
    return np.where(np.arange(kernel.shape[1]) == 1, 9, 0).astype(np.float32) + 0 * kernel


def wrong(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    return -right(kernel)


LONG_NAMES = tuple(f"{label} {'abcdefghi ' * 15}"[:150] for label in range(10))
CASES: dict[str, tuple[Arrays, int | tuple[str, ...], Kernel]] = {
    "one test image": (digits(60, 1), 10, as_drawn),
    "two test images of one class": (of_one_label(digits(60, 2), "test"), 10, as_drawn),
    "one class in both": (of_one_label(digits(60, 20), "train", "test"), 10, as_drawn),
    "one image in each split": (digits(1, 1), 10, as_drawn),
    "constant predictions": (digits(60, 12), 10, constant),
    "no errors": (two_tones(20, 10), 2, right),
    "all wrong": (two_tones(20, 10), 2, wrong),
    "1,000 classes, of most no test image": (noise(1000, 60, 1000, (2, 2)), 1000, as_drawn),
    "one image per class, with names of 150 letters": (noise(10, 10, 10, (28, 28)), LONG_NAMES, as_drawn),
    "all black": (black(digits(60, 12)), 10, as_drawn),
    "all black in color": (black(noise(30, 20, 3, (6, 6, 3))), 3, as_drawn),
    "1 x 1 pixels": (noise(60, 12, 10, (1, 1)), 10, as_drawn),
    "1 x 1 pixels in color": (noise(60, 12, 10, (1, 1, 3)), 10, as_drawn),
    "5 x 400 pixels": (noise(30, 8, 10, (5, 400)), 10, as_drawn),
    "400 x 2 pixels": (noise(30, 8, 10, (400, 2)), 10, as_drawn),
}  # fmt: skip


PROVENANCE = Provenance(
    run="this-run", began=datetime(2026, 1, 2, tzinfo=UTC), root="/root", archives=(), splits=(), steps=(), files=(),
    libraries={}, python="3.11", platform="Linux", cores=2,
)  # fmt: skip


def made_by_hand(name: str, train: SplitRecord, kernel: Kernel, seed: int, work: Workspace) -> ModelRecord:
    import keras

    seed_everything(seed)
    gray = [] if len(train.shape) == 3 else [keras.layers.Reshape((*train.shape, 1))]
    network = keras.Sequential([
        keras.Input(train.shape, dtype="uint8"), *gray, keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
        keras.layers.Dense(len(train.classes), activation="softmax"),
    ], name=name)  # fmt: skip
    drawn, bias = network.layers[-1].get_weights()
    offset = -1.0 if kernel is right else 1.0 if kernel is wrong else 0.0
    network.layers[-1].set_weights([kernel(drawn), bias + offset * (np.arange(len(bias)) == 1)])
    return record_like(name).model_copy(
        update={"file": save_model(network, name, work), "trained_on": train.count, "seed": seed}
    )


def analysis_of(
    arrays: Arrays, classes: int | tuple[str, ...], kernel: Kernel, work: Workspace, folder: Path
) -> Analysis:
    """Run every step after the training, in the order of the flow."""
    dataset = load_dataset(str(data.of_arrays(folder, arrays, classes).toml()))
    splits = decoded(dataset, work)
    models = {
        name: made_by_hand(name, splits["train"], kernel, seed, work) for seed, name in enumerate(("plain", "other"))
    }
    record = analyzed(dataset, load_recipe("augmented"), splits, models, work, robustness=True)
    return Analysis.model_validate_json(require_valid(work.root, record.file).read_bytes())


@pytest.mark.parametrize("case", CASES)
def test_degenerate_data_gives_a_report_without_undefined_numbers(case: str, work: Workspace, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("default", category=DeprecationWarning)
        analysis = analysis_of(*CASES[case], work, tmp_path / "mirror")
        figures = {name: figure_url(draw()) for name, draw in figures_of(analysis).items()}
        rendering = Rendering(Report(provenance=PROVENANCE, decision=None, changes=None, analysis=analysis), figures)
        texts = [rendering.html("degenerate"), rendering.markdown()]
        rows = json.dumps([rows for _, _, rows in tables.all_tables(analysis)])
    for text in (*texts, rows):
        shown = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
        assert not re.search(r".{0,60}\b(nan|inf|None)\b(?!\.).{0,60}", shown), case
