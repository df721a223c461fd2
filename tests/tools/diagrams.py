"""Draw the diagrams of docs/networks.md: `python -m tests.tools.diagrams`.

The diagrams are drawn from the recipe and from the published architecture of VGG-16, so that a test can draw and
compare them.
"""

from pathlib import Path

from artifacts.diagram.drawing import svg
from artifacts.diagram.vgg import vgg16
from tasks.analysis.network_description import architecture_of
from tasks.config.recipe import load_recipe
from tasks.training.keras_runtime import import_keras, seed_everything
from tasks.training.network import build

FOLDER = Path(__file__).parents[2] / "docs" / "networks"


def diagrams() -> dict[str, str]:
    """Return both diagrams as SVG, by file name."""
    import_keras()
    recipe = load_recipe("post")
    seed_everything(recipe.seed)  # restarts the numbers of the layers
    post = architecture_of(build(recipe.models[0], (28, 28), 10))
    return {
        "vgg16.svg": svg(vgg16(), "VGG-16", "vgg16", standalone=True),
        "post.svg": svg(post, "The post's network, shrunk from VGG-16", "post", standalone=True),
    }


def main() -> None:
    """Write the diagrams into the docs folder."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in diagrams().items():
        (FOLDER / name).write_text(f"{text}\n")


if __name__ == "__main__":
    main()
