"""Check by arithmetic that the layers of a network fit the images, before any download or training.

Networks that are made by a user's function are checked where they are built, because only Keras knows their shapes.
"""

from collections.abc import Sequence

from tasks.config.recipe import BatchNorm, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network, Recipe
from tasks.errors import Checks, RecipeError

Maps = tuple[int, int] | None  # rows and columns; None for a vector


def require_fitting_layers(recipe: Recipe, shape: Sequence[int], classes: int) -> None:
    """Check every network of a recipe that is defined by layers, and the label of the recipe's augmentation.

    The images have the shape (rows, columns[, channels]).

    Raises:
        RecipeError: If networks do not fit images of this shape, or no class has the label.
    """
    checks = Checks()
    checks.run(_require_known_label, recipe, classes)
    for network in recipe.models:
        if network.layers:
            checks.run(_require_fitting_network, network, (shape[0], shape[1]))
    checks.raise_faults(RecipeError)


def _require_known_label(recipe: Recipe, classes: int) -> None:
    bars = recipe.augmentation.bars if recipe.augmentation else None
    if bars and bars.label >= classes:
        raise RecipeError(
            f"the recipe {recipe.name}: augmentation.bars.label: {bars.label} is not a label of this dataset, whose labels are "
            f"0 to {classes - 1}"
        )


def _require_fitting_network(network: Network, size: tuple[int, int]) -> None:
    maps: Maps = size
    try:
        for number, layer in enumerate(network.layers, start=1):
            maps = _output_maps(layer, maps, f"layer {number}, {layer.layer}")
        if maps:
            raise RecipeError("its last layer outputs feature maps, not a vector: add a flatten layer")
    except RecipeError as error:
        message = f"the layers of model {network.name!r} don't fit images of {size[0]} x {size[1]} pixels"
        raise RecipeError(f"{message}: {error}") from error


def _output_maps(layer: Layer, maps: Maps, title: str) -> Maps:
    """Return the size of a layer's output maps for input maps of a given size; None means a vector."""
    match layer:
        case Conv(stride=stride) if maps:
            return -(-maps[0] // stride), -(-maps[1] // stride)
        case MaxPool(size=size) if maps and min(maps) >= size:
            return maps[0] // size, maps[1] // size
        case MaxPool(size=size) if maps:
            raise RecipeError(
                f"{title} of size {size}, receives feature maps of {maps[0]} x {maps[1]}: use fewer or smaller max_pool layers"
            )
        case Conv() | MaxPool():
            raise RecipeError(f"{title}, receives a vector: move it before flatten")
        case Flatten():
            return None
        case BatchNorm() | Dropout() | Dense():
            return maps
