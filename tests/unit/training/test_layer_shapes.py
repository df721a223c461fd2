import pytest

from tasks.config.recipe import Conv, Dense, Flatten, Layer, MaxPool, Network, Recipe, load_recipe
from tasks.config.toml_loader import BUILTIN
from tasks.errors import RecipeError
from tasks.training.layer_shapes import require_fitting_layers


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (BUILTIN / "recipes").glob("*.toml")))
@pytest.mark.parametrize("shape", [(28, 28), (9, 400), (8, 8, 3), (400, 8, 1)])
def test_the_built_in_recipes_take_images_from_8_x_8_pixels_on(recipe: str, shape: tuple[int, ...]) -> None:
    require_fitting_layers(load_recipe(recipe), shape, 10)


@pytest.mark.parametrize("shape", [(4, 4), (5, 400), (400, 4, 3)])
def test_the_posts_take_images_from_4_x_4_pixels_on(shape: tuple[int, ...]) -> None:
    require_fitting_layers(load_recipe("post"), shape, 10)


@pytest.mark.parametrize(
    ("shape", "number", "size"), [((1, 1), 3, "1 x 1"), ((2, 2), 7, "1 x 1"), ((3, 400, 3), 7, "1 x 200")]
)
def test_smaller_ones_are_refused_with_the_layer_that_does_not_take_them(
    shape: tuple[int, ...], number: int, size: str
) -> None:
    expected = (
        f"the layers of model 'plain' don't fit images of {shape[0]} x {shape[1]} pixels: "
        f"layer {number}, max_pool of size 2, receives feature maps of {size}: use fewer or smaller max_pool layers"
    )
    with pytest.raises(RecipeError) as caught:
        require_fitting_layers(load_recipe("post"), shape, 10)
    first, second = caught.value.fault_lines
    assert first == expected
    assert "'batch_norm' don't fit" in second


MISFITS: dict[str, tuple[Layer, ...]] = {
    "outputs feature maps, not a vector: add a flatten layer": (Conv(layer="conv", filters=1, kernel=1),),
    "layer 2, conv, receives a vector: move it before flatten": (
        Flatten(layer="flatten"),
        Conv(layer="conv", filters=1, kernel=1),
    ),
    "layer 2, max_pool, receives a vector: move it before flatten": (
        Flatten(layer="flatten"),
        MaxPool(layer="max_pool", size=1),
    ),
}


@pytest.mark.parametrize("said", MISFITS)
def test_layers_in_the_wrong_order_are_refused(said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        require_fitting_layers(recipe_of(*MISFITS[said]), (28, 28), 10)


def test_bars_for_a_label_that_no_class_has_are_refused() -> None:
    recipe = load_recipe("barred")  # of sevens
    require_fitting_layers(recipe, (28, 28), 8)
    with pytest.raises(
        RecipeError, match=r"augmentation.bars.label: 7 is not a label of this dataset, whose labels are 0 to 6"
    ):
        require_fitting_layers(recipe, (28, 28), 7)


def test_the_arithmetic_is_that_of_keras(one_thread: None) -> None:
    from tasks.training.network import build  # it imports Keras

    layers = (
        Conv(layer="conv", filters=3, kernel=3, stride=3), MaxPool(layer="max_pool", size=2), Dense(layer="dense", units=5),
        Flatten(layer="flatten"),
    )  # fmt: skip
    for size in range(1, 12):
        recipe = recipe_of(*layers)
        try:
            require_fitting_layers(recipe, (size, 12), 3)
        except RecipeError:
            with pytest.raises(RecipeError):
                build(recipe.models[0], (size, 12), 3)
        else:
            assert build(recipe.models[0], (size, 12), 3).output_shape == (None, 3)


def recipe_of(*layers: Layer) -> Recipe:
    return load_recipe("post").model_copy(update={"models": (Network(name="mine", layers=layers),)})
