from pathlib import Path

import pytest

from tasks.config.dataset import BUILT_IN_TEST_CONTENT
from tasks.config.recipe import Gate, load_recipe
from tasks.config.toml_loader import BUILTIN
from tasks.errors import RecipeError

POST = BUILTIN / "recipes" / "post.toml"


def test_the_post_recipe_is_the_posts() -> None:
    recipe = load_recipe("post")
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.validation) == (3, 512, 0.001, 0.0)
    assert [model.name for model in recipe.models] == ["plain", "batch_norm"]


def test_changes_take_the_place_of_the_recipes_own_values() -> None:
    recipe = load_recipe("post", epochs=10, seed=None, validation=0.1)
    assert (recipe.epochs, recipe.seed, recipe.validation) == (10, load_recipe("post").seed, 0.1)
    assert all(training.epochs == 10 for training in recipe.trainings())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": "three"}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"validation": 0.9}, "validation"),
        ({"validation": float("nan")}, "validation"),
    ],
)
def test_a_change_out_of_range_is_refused(change: dict[str, float], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe("post", **change)


@pytest.mark.parametrize("secret", ["[registry]\ntoken = 'CANARY'", "token = 'CANARY'", "batch = ['CANARY']"])
def test_values_of_a_file_of_another_program_are_not_repeated(tmp_path: Path, secret: str) -> None:
    (tmp_path / "credentials.toml").write_text(secret)
    thief = tmp_path / "thief.toml"
    key = secret.split(" =", maxsplit=1)[0]
    own = "\n".join(line for line in POST.read_text().splitlines() if not line.startswith(f"{key} "))
    thief.write_text(f'base = "{tmp_path / "credentials.toml"}"\n{own}')
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(thief))
    assert "CANARY" not in str(caught.value)


def test_a_key_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(f"{'a.' * 3000}a = 1\n{POST.read_text()}")
    with pytest.raises(RecipeError, match="a is not a known key"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "batch_norm"\nlayers', 'name = "plain"\nlayers', "model names must be unique"),
        ('layer = "flatten"', 'layer = "flaten"', "flaten"),
        ("units = 256", "units = 0", "units"),
        ('name = "post"', f'name = "{"p" * 65}"', "name: String should have at most 64 characters"),
        ('name = "plain"', f'name = "{"p" * 65}"', "name: String should have at most 64 characters"),
        ("batch = 512\n", "", "batch is missing"),
        ("batch = 512", "batch = 512.0", "batch must be an integer, got 512.0"),
        ("batch = 512", 'batch = "512"', "batch must be an integer, got '512'"),
        ("batch = 512", "batch = true", "batch must be an integer, got True"),
        ("batch = 512\n", "batch = 512\nlabel_smoothing = '0.1'\n", "label_smoothing must be a number"),
        ("batch = 512\n", "batch = 512\nlabel_smoothing = false\n", "label_smoothing must be a number"),
    ],
)
def test_a_half_specified_recipe_is_refused_with_the_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = POST.read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(RecipeError, match=says):
        load_recipe(str(path))


def test_an_integer_is_accepted_where_a_number_is_expected(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "post"\nname = "mine"\nlearning_rate = 1\n')
    assert load_recipe(str(tmp_path / "mine.toml")).learning_rate == 1.0


def test_a_recipe_takes_from_its_base_what_it_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "post"\nname = "mine"\nepochs = 7\n')
    (tmp_path / "other.toml").write_text('base = "mine.toml"\nbatch = 64\n')
    mine, post = load_recipe(str(tmp_path / "other.toml")), load_recipe("post")
    assert (mine.name, mine.epochs, mine.batch) == ("mine", 7, 64)
    assert (mine.models, mine.gates) == (post.models, post.gates)


@pytest.mark.parametrize("base", ['"mine.toml"', '"other.toml"', "1", '"nothing"'])
def test_a_base_that_is_not_a_recipe_is_rejected(tmp_path: Path, base: str) -> None:
    (tmp_path / "other.toml").write_text('base = "mine.toml"')
    (tmp_path / "mine.toml").write_text(f"base = {base}")
    with pytest.raises(RecipeError, match=r"base: give|unknown recipe"):
        load_recipe(str(tmp_path / "mine.toml"))


ENSEMBLE = """
base = "post"
name = "mine"
seed = 5

[[ensembles]]
name = "both"
members = ["plain", "batch_norm"]
seeds = 2
"""


def test_an_ensemble_is_made_of_its_members_with_several_seeds(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(ENSEMBLE)
    recipe = load_recipe(str(tmp_path / "mine.toml"))
    plain, norm, both = recipe.model_specs()
    assert [spec.name for spec in (plain, norm, both)] == ["plain", "batch_norm", "both"]
    assert [(one.network.name, one.seed) for one in both.trainings] == [
        ("plain", 5), ("batch_norm", 5), ("plain", 6), ("batch_norm", 6),
    ]  # fmt: skip
    assert both.training == plain.training, "which is not trained twice"
    again = recipe.model_specs(1)
    assert again[0].training.seed == 6
    assert {one.seed for one in again[2].trainings} == {7, 8}, "no seed of the ensemble before"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"batch_norm"]', '"other"]', "the ensemble 'both' has unknown members: other"),
        ('name = "both"', 'name = "plain"', "model names must be unique"),
        (
            '["plain", "batch_norm"]\nseeds = 2',
            '["plain"]',
            "give more than one member, more than one seed, or a tta_shift",
        ),
        ("seeds = 2", "seeds = 0", "seeds"),
    ],
)
def test_an_ensemble_of_nothing_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in ENSEMBLE
    (tmp_path / "mine.toml").write_text(ENSEMBLE.replace(old, new))
    with pytest.raises(RecipeError, match=says):
        load_recipe(str(tmp_path / "mine.toml"))


def test_the_shift_of_an_ensemble_may_be_named_as_in_earlier_versions(tmp_path: Path) -> None:
    earlier, now, both = (tmp_path / f"{name}.toml" for name in ("earlier", "now", "both"))
    earlier.write_text(f"{ENSEMBLE}shift = 2\n")
    now.write_text(f"{ENSEMBLE}tta_shift = 2\n")
    both.write_text(f"{ENSEMBLE}tta_shift = 2\nshift = 1\n")
    assert load_recipe(str(earlier)) == load_recipe(str(now))
    assert load_recipe(str(now)).ensembles[0].tta_shift == 2
    with pytest.raises(RecipeError, match=r"ensembles\.0\.shift"):
        load_recipe(str(both))


@pytest.mark.parametrize("path", sorted((BUILTIN / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_built_in_recipe_loads_by_its_name(path: Path) -> None:
    assert load_recipe(path.stem).name == path.stem


@pytest.mark.parametrize(("earlier", "name"), [("averaged", "ema"), ("dropped", "dropout"), ("widened", "wide")])
def test_the_names_of_recipes_in_earlier_versions_are_accepted(earlier: str, name: str) -> None:
    assert load_recipe(earlier) == load_recipe(name)


def test_a_gate_for_a_built_in_dataset_applies_to_its_own_test_images_only() -> None:
    recipe = load_recipe("post")
    assert recipe.gate("mnist", BUILT_IN_TEST_CONTENT["mnist"]).floor == 0.95
    assert recipe.gate("mnist", "0" * 64) == Gate()
    own = recipe.model_copy(update={"gates": {"leaves": Gate(floor=0.8)}})
    assert own.gate("leaves", "0" * 64).floor == 0.8
