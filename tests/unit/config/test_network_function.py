from pathlib import Path

import pytest

from tasks.config.recipe import Recipe, load_recipe
from tasks.errors import RecipeError
from tasks.training.network import build

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

NETS = """
import keras
from keras import layers

def residual(x, filters=4):
    x = layers.Conv2D(filters, 3, padding="same")(x)
    y = layers.Conv2D(filters, 3, padding="same")(x)
    return layers.Flatten()(layers.Add()([x, y]))

def maps(x):
    return x

def broken(x):
    raise ZeroDivisionError("by nothing")

def coded(x):
    return layers.Flatten()(layers.Lambda(lambda y: y)(x))

class Own(layers.Layer):
    def call(self, x):
        return x

def own(x):
    return layers.Flatten()(Own()(x))

def leaves(x):
    raise SystemExit(3)

number = 3
"""


def recipe(folder: Path, function: str, arguments: str = "{}") -> Path:
    path = folder / "own.toml"
    path.write_text(
        f'base = "post"\nname = "own"\n[[models]]\nname = "net"\nfunction = "{function}"\narguments = {arguments}\n'
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


def test_a_function_is_called_with_its_arguments(folder: Path) -> None:
    (network,) = load_recipe(str(recipe(folder, "nets.py:residual", "{ filters = 5 }"))).models
    model = build(network, (8, 6), 7)
    assert model.output_shape == (None, 7)
    assert model.layers[3].filters == 5
    assert build(network, (8, 6, 3), 7).input_shape == (None, 8, 6, 3)


def test_the_code_is_part_of_the_network_and_its_place_is_not(folder: Path, tmp_path: Path) -> None:
    (before,) = load_recipe(str(recipe(folder, "nets.py:residual"))).models
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "nets.py").write_text(NETS)
    (moved,) = load_recipe(str(recipe(elsewhere, "nets.py:residual"))).models
    (elsewhere / "nets.py").write_text(NETS + "# changed")
    (changed,) = load_recipe(str(elsewhere / "own.toml")).models
    assert before.model_dump() == moved.model_dump() != changed.model_dump()
    with pytest.raises(RecipeError, match="has changed since the run began"):
        build(moved, (8, 6), 7)


def test_a_recipe_is_read_back_from_a_runs_record(folder: Path) -> None:
    plan = load_recipe(str(recipe(folder, "nets.py:residual")))
    assert Recipe.model_validate_json(plan.model_dump_json()).model_dump() == plan.model_dump()


def test_a_module_that_can_be_imported_will_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "installed_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(folder)
    (network,) = load_recipe(str(recipe(folder, "installed_nets:residual"))).models
    assert build(network, (8, 6), 7).output_shape == (None, 7)


REFUSED = [
    ("nets.py:leaves", r"^model 'net': nets.py:leaves fails: it exits \(3\) instead of returning"),
    ("nets.py:maps", r"returns .*, not \(N, units\): flatten the output"),
    ("nets.py:broken", "nets.py:broken fails: by nothing"),
    ("nets.py:coded", "uses the unsupported layer Lambda"),
    ("nets.py:own", "uses the unsupported layer Own"),
    ("nets.py:none", "^the function nets.py:none can't be imported: .* has no attribute 'none'"),
    ("nets.py:number", "can't be called: it is of type int"),
]


@pytest.mark.parametrize(("function", "says"), REFUSED)
def test_a_function_that_can_not_stand_there_is_refused(folder: Path, function: str, says: str) -> None:
    (network,) = load_recipe(str(recipe(folder, function))).models
    with pytest.raises(RecipeError, match=says):
        build(network, (8, 6), 7)


def test_a_script_that_exits_when_it_is_imported_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = (
        r"can't be imported: it exits \(2\) instead of returning; move code that only a script needs below `if __name__"
    )
    (folder / "script.py").write_text("import sys\nsys.exit(2)\n")
    (network,) = load_recipe(str(recipe(folder, "script.py:net"))).models
    with pytest.raises(RecipeError, match=says):
        build(network, (8, 6), 7)
    (folder / "exiting").mkdir()
    (folder / "exiting" / "__init__.py").write_text("raise SystemExit(2)")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(RecipeError, match=r"can't import exiting\.nets: it exits"):
        load_recipe(str(recipe(folder, "exiting.nets:net")))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("none.py:f", "can't read .*none.py: No such file"),
        ("no_such_module:f", "there is no module no_such_module"),
        ("no.such:f", "can't import no.such: No module named 'no'"),
        ("nothing", "models.0.function must be FILE.py:NAME or PACKAGE.MODULE:NAME, got 'nothing'"),
    ],
)
def test_a_function_that_is_nowhere_is_refused_when_the_recipe_is_read(folder: Path, function: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe(str(recipe(folder, function)))


@pytest.mark.parametrize("function", ['function = "nets.py:residual"\nlayers = [{ layer = "flatten" }]', ""])
def test_a_model_of_both_or_neither_is_refused(folder: Path, function: str) -> None:
    path = recipe(folder, "nets.py:residual")
    path.write_text(path.read_text().replace('function = "nets.py:residual"', function))
    with pytest.raises(RecipeError, match="give either layers or a function"):
        load_recipe(str(path))
