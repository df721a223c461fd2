"""A recipe of two small networks, for runs whose subject is not the networks: a tenth of the post's time."""

from pathlib import Path

# The models have the names of the post's models. After one epoch on 600 images, each predicts some images correctly.
SMALL = """
base = "post"
name = "small"
epochs = 1
batch = 64
learning_rate = 0.01

[[models]]
name = "plain"
layers = [
    { layer = "conv", filters = 4, kernel = 3, stride = 2 },
    { layer = "max_pool", size = 2 },
    { layer = "flatten" },
]

[[models]]
name = "batch_norm"
layers = [
    { layer = "conv", filters = 4, kernel = 3, stride = 2 },
    { layer = "batch_norm", momentum = 0.9 },
    { layer = "max_pool", size = 2 },
    { layer = "flatten" },
]
"""


def small(folder: Path) -> str:
    """Write the recipe, and return the path of its file."""
    path = folder / "small.toml"
    path.write_text(SMALL)
    return str(path)
