"""Recipes of small networks, for runs whose subject is not the networks: a tenth of the post's time."""

from pathlib import Path

from tests.support import data

_RECIPE = """
base = "post"
name = "small"
epochs = 1
batch = {batch}
learning_rate = 0.01
"""
_PLAIN = """
[[models]]
name = "plain"
layers = [
    { layer = "conv", filters = 4, kernel = 3, stride = 2 },
    { layer = "max_pool", size = 2 },
    { layer = "flatten" },
]
"""
_BATCH_NORM = """
[[models]]
name = "batch_norm"
layers = [
    { layer = "conv", filters = 4, kernel = 3, stride = 2 },
    { layer = "batch_norm", momentum = 0.9 },
    { layer = "max_pool", size = 2 },
    { layer = "flatten" },
]
"""

PAIR = _RECIPE.format(batch=64) + _PLAIN + _BATCH_NORM


def pair(folder: Path) -> str:
    """Write a recipe of two models with the names of the post's, and return the path of its file."""
    return _written(folder, PAIR)


def single(folder: Path) -> str:
    """Write a recipe of one model that makes few errors, after many small steps, and return the path of its file."""
    return _written(folder, _RECIPE.format(batch=32) + _PLAIN)


def single_run(folder: Path) -> list[str]:
    """Write a dataset of few images and the recipe of one model, and return the options for a run with both."""
    return ["--dataset", str(data.make(folder, data.FEW).toml()), "--recipe", single(folder)]


def _written(folder: Path, text: str) -> str:
    path = folder / "small.toml"
    path.write_text(text)
    return str(path)
