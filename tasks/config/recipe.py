"""Define recipes: which networks to train, and how.

A recipe is loaded by the name of a built-in one or by the path of a TOML file, and the user may override some values.
Unknown names, unreadable files, and values that are missing, unknown or out of range are rejected.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AliasChoices, Field, StrictFloat, StrictInt, model_validator

from tasks.base import Frozen
from tasks.config.augmentation import Augmentation
from tasks.config.dataset import BUILT_IN_TEST_CONTENT, Name
from tasks.config.network_function import resolve_function
from tasks.config.text_pattern import TextPattern
from tasks.config.toml_loader import read_toml, validate
from tasks.errors import Checks, RecipeError

Positive = Annotated[StrictInt, Field(gt=0)]
Epochs = Annotated[StrictInt, Field(ge=1, le=10_000)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**31)]
ValidationFraction = Annotated[StrictFloat, Field(ge=0, le=0.5)]  # fraction of the training images


class Conv(Frozen):
    """Square "same" convolution with ReLU, at every `stride`-th pixel."""

    layer: Literal["conv"]
    filters: Positive
    kernel: Positive
    stride: Positive = 1


class MaxPool(Frozen):
    """Max pooling over squares that do not overlap."""

    layer: Literal["max_pool"]
    size: Positive


class BatchNorm(Frozen):
    """Batch normalization; `momentum` is the fraction of the moving averages that each step keeps."""

    layer: Literal["batch_norm"]
    momentum: StrictFloat = Field(ge=0, lt=1)


class Dropout(Frozen):
    """Dropout of a fraction `rate` of the values in training, drawn separately for each image."""

    layer: Literal["dropout"]
    rate: StrictFloat = Field(gt=0, lt=1)


class Flatten(Frozen):
    """Conversion of feature maps to a vector."""

    layer: Literal["flatten"]


class Dense(Frozen):
    """Fully connected layer with ReLU."""

    layer: Literal["dense"]
    units: Positive


Layer = Annotated[Conv | MaxPool | BatchNorm | Dropout | Flatten | Dense, Field(discriminator="layer")]


class Network(Frozen):
    """Layers between the scaled image and the softmax over the classes: a flat list, or a function that builds them.

    `function` is "file.py:name", with a path relative to the recipe, or "package.module:name". The function is called
    with the scaled images, (N, rows, columns, channels) between 0 and 1, and `arguments`; it returns the output of
    Keras layers, (N, units). `code` is the SHA-256 of the function's file, so that the network is trained again when
    the file changes.
    """

    name: Name
    layers: tuple[Layer, ...] = ()
    function: Annotated[str, TextPattern(r".+:[A-Za-z_]\w*", "must be FILE.py:NAME or PACKAGE.MODULE:NAME")] | None = (
        None
    )
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)
    code: str | None = None
    file: Path | None = Field(default=None, exclude=True)  # a path on this machine does not affect the model

    @model_validator(mode="after")
    def either(self) -> Self:
        """Require either layers or a function, but not both."""
        if bool(self.layers) == bool(self.function):
            raise ValueError("give either layers or a function")
        return self


class OneCycle(Frozen):
    """Learning rate that rises from 0 in the first `warm_up` of all steps, and falls along half a cosine to 0.

    Source: Smith and Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates".
    """

    kind: Literal["one_cycle"]
    warm_up: StrictFloat = Field(ge=0, lt=1)


class Settings(Frozen):
    """Settings to train a network by Adam on the cross-entropy.

    `schedule` controls the learning rate, which is constant by default. `label_smoothing` is the probability that is
    moved from the label to all classes evenly. `weight_averaging` is the fraction that an exponential moving average of
    the weights keeps at each step; the averaged weights are saved. `validation` is the fraction of the training images
    that is held out.
    """

    epochs: Epochs
    batch: StrictInt = Field(ge=1, le=60_000)
    learning_rate: StrictFloat = Field(gt=0, le=1)
    schedule: OneCycle | None = None
    label_smoothing: StrictFloat = Field(default=0.0, ge=0, lt=1)
    weight_averaging: StrictFloat | None = Field(default=None, gt=0, lt=1)
    augmentation: Augmentation | None = None
    validation: ValidationFraction = 0.0
    seed: Seed


class Training(Settings):
    """Everything that the result of one training depends on, besides the data."""

    network: Network


class Ensemble(Frozen):
    """Model that predicts the mean probabilities of `members`, networks of its recipe, each trained with `seeds` seeds.

    With a `tta_shift`, each member also predicts the image shifted by this number of pixels up, down, left and right,
    which is called test-time augmentation.
    """

    name: Name
    members: tuple[Name, ...] = Field(min_length=1)
    seeds: StrictInt = Field(default=1, ge=1, le=1000)
    tta_shift: StrictInt = Field(default=0, ge=0, le=100, validation_alias=AliasChoices("tta_shift", "shift"))

    @model_validator(mode="after")
    def more_than_one(self) -> Self:
        """Reject an ensemble that is equivalent to a single network."""
        if len(self.members) == self.seeds == 1 and not self.tta_shift:
            raise ValueError("give more than one member, more than one seed, or a tta_shift")
        return self


class ModelSpec(Frozen):
    """Model to make: a network, or an ensemble.

    `training` is the training of the network or of the ensemble's first member; `others` are those of the other
    members.
    """

    training: Training
    others: tuple[Training, ...] = ()
    ensemble: Ensemble | None = None

    @property
    def trainings(self) -> tuple[Training, ...]:
        """All trainings that the model needs."""
        return (self.training, *self.others)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.ensemble.name if self.ensemble else self.training.network.name


class Gate(Frozen):
    """Conditions for the best model of a run to become the champion.

    Its accuracy must be above `floor` and below `ceiling`, beyond which it is implausibly good, and must be shown to be
    not inferior to the champion's by more than `margin`. All values are fractions of the test images. Without a margin,
    which only suits a known number of images, the model must not be significantly worse than the champion. On every
    dataset, the model must also be significantly better than predicting the most frequent class: see
    `tasks.analysis.baseline`.
    """

    floor: StrictFloat = Field(default=0.0, ge=0, lt=1)
    ceiling: StrictFloat = Field(default=1.0, gt=0, le=1)
    margin: StrictFloat | None = Field(default=None, gt=0, lt=1)


class Recipe(Settings):
    """Networks that are trained with the same settings, ensembles of them, and a gate for each dataset."""

    name: Name
    description: str
    gates: dict[Name, Gate] = Field(default_factory=dict)
    models: tuple[Network, ...] = Field(min_length=1)
    ensembles: tuple[Ensemble, ...] = ()

    @model_validator(mode="after")
    def names_differ(self) -> Self:
        """Reject duplicate model names, and ensembles whose members are not networks of the recipe."""
        networks = [network.name for network in self.models]
        names = [*networks, *(ensemble.name for ensemble in self.ensembles)]
        if len(set(names)) < len(names):
            raise ValueError(f"model names must be unique, but the recipe has {', '.join(names)}")
        for ensemble in self.ensembles:
            if unknown := sorted(set(ensemble.members) - set(networks)):
                raise ValueError(f"the ensemble {ensemble.name!r} has unknown members: {', '.join(unknown)}")
        return self

    def gate(self, dataset: str, test_content: str) -> Gate:
        """Return the gate for a dataset; by default, a gate without floor, ceiling or margin.

        A gate for a built-in dataset does not apply to a dataset of the same name whose `test_content`, the
        `content_sha256` of its test split, is another.
        """
        is_named = BUILT_IN_TEST_CONTENT.get(dataset, test_content) == test_content
        return self.gates.get(dataset, Gate()) if is_named else Gate()

    def trainings(self) -> tuple[Training, ...]:
        """Return the training of each network."""
        settings = {name: getattr(self, name) for name in Settings.model_fields}
        return tuple(Training(network=network, **settings) for network in self.models)

    def model_specs(self, number: int = 0) -> tuple[ModelSpec, ...]:
        """Return all models, trained with the recipe's own seed or, for another `number`, with other seeds.

        Ensembles with different numbers share no seed.
        """
        alone = {training.network.name: training for training in self.trainings()}

        def seeded(name: str, later: int) -> Training:
            return alone[name].model_copy(update={"seed": self.seed + later})

        def together(ensemble: Ensemble) -> ModelSpec:
            seeds = range(number * ensemble.seeds, (number + 1) * ensemble.seeds)
            first, *others = (seeded(name, later) for later in seeds for name in ensemble.members)
            return ModelSpec(training=first, others=tuple(others), ensemble=ensemble)

        return (*(ModelSpec(training=seeded(name, number)) for name in alone), *map(together, self.ensembles))


def unique_trainings(model_specs: Iterable[ModelSpec]) -> dict[str, Training]:
    """Return all distinct trainings of the models in order, keyed by their content as JSON."""
    return {training.model_dump_json(): training for spec in model_specs for training in spec.trainings}


def load_recipe(name_or_path: str, **changes: float | None) -> Recipe:
    """Load a recipe, and override its values with those `changes` (epochs, seed, validation) that are not None.

    Raises:
        RecipeError: If the recipe is unknown, unreadable or half-specified, or a change is out of range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    checks, what = Checks(), f"the recipe {name_or_path}"
    values = _with_base(name_or_path, checks) | given
    is_complete = not checks.errors  # a base that can't be read hides no fault of the recipe itself
    recipe = checks.run(validate, values, Recipe, what, RecipeError, is_complete=is_complete)
    checks.raise_faults(RecipeError)
    return cast("Recipe", recipe)


def load_recipes(names_or_paths: Sequence[str], **changes: float | None) -> tuple[Recipe, ...]:
    """Load recipes to compare with one another, each as `load_recipe` does.

    Raises:
        RecipeError: If there is no recipe, some cannot be loaded, or two have the same name.
    """
    if isinstance(names_or_paths, str) or not names_or_paths:
        raise RecipeError(f"give a list of one or more recipes, not {names_or_paths!r}")
    checks = Checks()
    found = [checks.run(load_recipe, one, **changes) for one in names_or_paths]
    checks.raise_faults(RecipeError)
    recipes = tuple(recipe for recipe in found if recipe)
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise RecipeError(f"recipes to compare must have different names, but these are called {', '.join(names)}")
    return recipes


def _with_base(name_or_path: str, checks: Checks, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the values of a recipe, completed with those of its `base` recipe if it names one.

    A fault of the base is added to the checks, and a fault of the recipe's own file is raised.
    """
    values, path = read_toml(name_or_path, "recipe", RecipeError)
    if isinstance(models := values.get("models"), list):
        values["models"] = [resolve_function(model, path) for model in models]
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or path in above:
        checks.errors.append(
            RecipeError(f"the recipe {path}: base: give the name of another recipe, or the path of its .toml file")
        )
        return values
    place = str(path.parent / base) if base.endswith(".toml") else base
    return (checks.run(_with_base, place, checks, (*above, path)) or {}) | values
