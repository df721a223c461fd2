"""Test that the datasets and recipes in the documentation can be loaded, and their models built."""

import re
import tomllib
from pathlib import Path

import pytest

from tasks.config.dataset import dataset_of
from tasks.config.recipe import Recipe, load_recipe
from tasks.config.toml_loader import BUILTIN
from tasks.training.network import build
from tests.tools.console_blocks import PAGES, PROJECT, blocks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

RECIPES = [(page, block) for page in PAGES for block in blocks(page, "toml") if "[train]" not in block]
OWN = PROJECT / "docs" / "own.md"


def loaded(page: Path, block: str, folder: Path) -> Recipe:
    """Load a block as a recipe, or a part of a recipe as a change to the last whole recipe of its page."""
    wholes = [text for text in blocks(page, "toml") if text.startswith("base =")]
    for code in blocks(page, "python"):
        (folder / "nets.py").write_text(code)
    (folder / "whole.toml").write_text(wholes[-1])
    (folder / "mine.toml").write_text(block if block in wholes else f'base = "whole.toml"\n{block}')
    return load_recipe(str(folder / "mine.toml"))


@pytest.mark.parametrize(("page", "block"), RECIPES, ids=lambda one: one.stem if isinstance(one, Path) else one[:20])
def test_a_block_of_a_recipe_loads(page: Path, block: str, tmp_path: Path) -> None:
    recipe = loaded(page, block, tmp_path)
    if (BUILTIN / "recipes" / f"{recipe.name}.toml").exists():
        assert recipe == load_recipe(recipe.name)


def test_the_models_of_the_recipe_can_be_built(tmp_path: Path) -> None:
    (block,) = [block for page, block in RECIPES if page == OWN and "nets.py" in block]
    for network in loaded(OWN, block, tmp_path).models:
        assert build(network, (28, 28), 10).output_shape == (None, 10)


def test_the_training_has_the_values_of_the_built_in_recipe() -> None:
    (block,) = [block for page, block in RECIPES if page == OWN and "[augmentation]" in block]
    built_in = load_recipe("augmented").model_dump(mode="json")
    examples = {"weight_averaging", "validation", "augmentation", "bars", "specks"}
    given = tomllib.loads(block)
    for values, expected in ((given, built_in), (given["augmentation"], built_in["augmentation"])):
        for name in values.keys() - examples:
            assert values[name] == expected[name], name


def test_the_block_of_a_dataset_describes_one(tmp_path: Path) -> None:
    (block,) = [block for block in blocks(OWN, "toml") if "[train]" in block]
    (tmp_path / "archives").mkdir()
    (tmp_path / "train-labels.idx").touch()
    pins = "\nbytes = 1\nsha256 = '…'"  # as `mnist dataset pin` adds them
    text = re.sub(r"^\[(?:train.labels|test.images|test.labels)\]$", r"\g<0>" + pins, block, flags=re.MULTILINE)
    text = text.replace("…", "0" * 64).replace("/data/leaves", str(tmp_path))
    assert dataset_of(tomllib.loads(text), "leaves", tmp_path).shape == (48, 32, 3)
    text = text.replace("# first", "first").replace("# transposed", "transposed")
    assert dataset_of(tomllib.loads(text), "leaves", tmp_path).first_label == 1
