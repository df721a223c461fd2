"""Test a complete run on an unknown dataset with a network of the user."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tasks.schemas.analysis import Report
from tests.support import odd
from tests.support.command import Mnist

NETS = """
from keras import layers

def squares(x, units):
    return layers.Dense(units, activation="relu")(layers.Flatten()(layers.AveragePooling2D(2)(x)))
"""

RECIPE = """
base = "post"
name = "mine"
description = "One of layers, two by a function"
epochs = 20
batch = 32
learning_rate = 0.003

[[models]]
name = "layers"
layers = [{ layer = "max_pool", size = 2 }, { layer = "flatten" }]

[[models]]
name = "small"
function = "nets.py:squares"
arguments = { units = 16 }

[[models]]
name = "large"
function = "nets.py:squares"
arguments = { units = 256 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    (folder / "nets.py").write_text(NETS)
    (folder / "mine.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def found(mnist: Mnist, folder: Path) -> dict[str, Any]:
    toml = odd.make(folder / "odd")
    options = ("--dataset", toml, "--recipe", folder / "mine.toml", "--root", folder / "root", "--no-gate")
    unpinned = mnist("run", *options)
    assert unpinned.returncode == 2
    assert f"`mnist dataset pin {toml}`" in unpinned.stderr.splitlines()[-1]
    done = mnist("dataset", "pin", toml)
    assert done.returncode == 0, done.stderr
    assert f"written to {toml}" in done.stdout
    return mnist.result("run", *options)


def test_three_models_go_the_whole_way(found: dict[str, Any], folder: Path) -> None:
    assert list(found["models"]) == ["layers", "small", "large"]
    assert found["models"]["large"]["accuracy"] > 0.9, found["models"]
    assert [pair["tests"] for pair in found["comparisons"]] == [3, 3, 3]
    document = Report.model_validate_json((folder / "root" / found["report"]["json"]).read_bytes())
    assert document.analysis.subject.shape == odd.SHAPE
    assert {part.feature for part in document.analysis.slices} == {"brightness", "contrast", "saturation"}


def test_the_report_has_every_pair_and_keeps_many_labels_short(found: dict[str, Any], folder: Path) -> None:
    text = (folder / "root" / found["report"]["markdown"]).read_text(encoding="utf-8")
    for pair in ("small minus layers", "large minus layers", "large minus small"):
        assert f"| {pair} |" in text
    assert f"{odd.CLASSES - 30} more labels" in text
    assert "24 x 20 pixels in color" in text


def test_a_picture_in_color_is_read(mnist: Mnist, found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    images, labels = odd.arrays("train")
    Image.fromarray(images[0]).resize((100, 120), Image.Resampling.NEAREST).save(tmp_path / "one.png")
    (shown,) = mnist.result("predict", tmp_path / "one.png", "--root", folder / "root")["pictures"]
    assert len(shown["guesses"]) == len(found["models"])
    assert any(guess["label"] == f"thing {labels[0]}" for guess in shown["guesses"].values()), labels[0]


def test_the_built_in_datasets_are_listed(mnist: Mnist) -> None:
    assert [one["name"] for one in mnist.result("dataset", "list")["datasets"]] == [
        "emnist_digits", "emnist_letters", "fashion_mnist", "kmnist", "mnist",
    ]  # fmt: skip
    assert "Kuzushiji-MNIST" in mnist("dataset", "list").stdout
