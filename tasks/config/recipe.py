"""Recipes: which networks are trained, and how.

In: the name of a built-in recipe or the path of a TOML file, and what the user sets otherwise. Out: a frozen Recipe.
Refuses: an unknown name, a file that can't be read, a value that is missing, unknown or out of range.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.base import Frozen
from tasks.config.augmentation import Augmentation
from tasks.config.dataset import Name
from tasks.config.network_function import resolve_function
from tasks.config.toml_loader import read_toml, validate
from tasks.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
ValidationFraction = Annotated[float, Field(ge=0, le=0.5)]  # a share of the training images


class Conv(Frozen):
    """A square "same" convolution with ReLU, at every `stride`-th pixel."""

    layer: Literal["conv"]
    filters: Positive
    kernel: Positive
    stride: Positive = 1


class MaxPool(Frozen):
    """Max-pooling over squares that don't overlap."""

    layer: Literal["max_pool"]
    size: Positive


class BatchNorm(Frozen):
    """Batch normalisation; `momentum` is the moving averages' share that each step keeps."""

    layer: Literal["batch_norm"]
    momentum: float = Field(ge=0, lt=1)


class Dropout(Frozen):
    """While it learns, a network goes without a share `rate` of these values, drawn anew for each image."""

    layer: Literal["dropout"]
    rate: float = Field(gt=0, lt=1)


class Flatten(Frozen):
    """From maps to a vector."""

    layer: Literal["flatten"]


class Dense(Frozen):
    """A fully connected layer with ReLU."""

    layer: Literal["dense"]
    units: Positive


Layer = Annotated[Conv | MaxPool | BatchNorm | Dropout | Flatten | Dense, Field(discriminator="layer")]


class Network(Frozen):
    """What stands between the scaled image and the softmax over the classes: a flat list of layers, or a function.

    `function` is "file.py:name", where a path counts from the recipe, or "package.module:name"; it is called with the scaled
    images, (N, rows, columns, channels) between 0 and 1, and `arguments`, and returns what it makes of them, (N, units), by
    layers of Keras's own. `code` is the SHA-256 of the file that it stands in, so that it is trained anew when that changes.
    """

    name: Name
    layers: tuple[Layer, ...] = ()
    function: str | None = Field(default=None, pattern=r"^.+:[A-Za-z_]\w*$")
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)
    code: str | None = None
    file: Path | None = Field(default=None, exclude=True)  # where a model comes from on this machine does not shape it

    @model_validator(mode="after")
    def either(self) -> Self:
        """Refuse both, and neither."""
        if bool(self.layers) == bool(self.function):
            raise ValueError("give either layers or a function")
        return self


class OneCycle(Frozen):
    """The learning rate rises from 0 over the first `warm_up` of all steps, and falls along half a cosine to 0 at the end.

    After Smith and Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates".
    """

    kind: Literal["one_cycle"]
    warm_up: float = Field(ge=0, lt=1)


class Settings(Frozen):
    """How a network is trained: by Adam on the cross-entropy.

    `schedule` says how the learning rate runs; without, it stays. `label_smoothing` is the probability that is taken from the
    label and spread over all classes. `weight_averaging` is what an exponential moving average of the weights keeps at each
    step; the averages are what is saved. `validation` is the share of the training images that is held out.
    """

    epochs: Epochs
    batch: int = Field(ge=1, le=60_000)
    learning_rate: float = Field(gt=0, le=1)
    schedule: OneCycle | None = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    weight_averaging: float | None = Field(default=None, gt=0, lt=1)
    augmentation: Augmentation | None = None
    validation: ValidationFraction = 0.0
    seed: Seed


class Training(Settings):
    """All that one training depends on, besides the data."""

    network: Network


class Ensemble(Frozen):
    """A model that answers by the mean probabilities of `members`, networks of its recipe, each trained with so many `seeds`.

    With a `shift`, each member is also asked about the image shifted by so many pixels up, down, left and right: what is called
    test-time augmentation.
    """

    name: Name
    members: tuple[Name, ...] = Field(min_length=1)
    seeds: int = Field(default=1, ge=1, le=1000)
    shift: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def more_than_one(self) -> Self:
        """Refuse what is but a network."""
        if len(self.members) == self.seeds == 1 and not self.shift:
            raise ValueError("give more than one member, more than one seed, or a shift")
        return self


class ModelSpec(Frozen):
    """One model to be made: a network by its training, or an ensemble by that of its first member and of the `others`."""

    training: Training
    others: tuple[Training, ...] = ()
    ensemble: Ensemble | None = None

    @property
    def trainings(self) -> tuple[Training, ...]:
        """All that it takes."""
        return (self.training, *self.others)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.ensemble.name if self.ensemble else self.training.network.name


class Gate(Frozen):
    """What the best model of a run must show to become the champion.

    Its accuracy lies above `floor`, below `ceiling`, where it would be too good to be true, and is shown not to be inferior
    to the champion's by more than `margin`. All are shares of the test images. Without a margin, which only fits images of a
    known number, the model must not be worse than the champion beyond chance. On every data set it must also be better than the
    most frequent class, beyond chance: see `tasks.analysis.baseline`.
    """

    floor: float = Field(default=0.0, ge=0, lt=1)
    ceiling: float = Field(default=1.0, gt=0, le=1)
    margin: float | None = Field(default=None, gt=0, lt=1)


class Recipe(Settings):
    """Networks that are trained in the same way, and ensembles of them, to be compared; what is expected of the best, by data
    set.
    """

    name: Name
    description: str
    gates: dict[Name, Gate] = Field(default_factory=dict)
    models: tuple[Network, ...] = Field(min_length=1)
    ensembles: tuple[Ensemble, ...] = ()

    @model_validator(mode="after")
    def names_differ(self) -> Self:
        """Refuse two models of one name, and ensembles of what is no network."""
        networks = [network.name for network in self.models]
        names = [*networks, *(ensemble.name for ensemble in self.ensembles)]
        if len(set(names)) < len(names):
            raise ValueError(f"models need different names, these are {', '.join(names)}")
        for ensemble in self.ensembles:
            if unknown := sorted(set(ensemble.members) - set(networks)):
                raise ValueError(f"the ensemble {ensemble.name!r} has members that are no models: {', '.join(unknown)}")
        return self

    def gate(self, dataset: str) -> Gate:
        """The gate for a data set: where the recipe names none, there is neither floor, ceiling nor margin of its own."""
        return self.gates.get(dataset, Gate())

    def trainings(self) -> tuple[Training, ...]:
        """One value per network."""
        settings = {name: getattr(self, name) for name in Settings.model_fields}
        return tuple(Training(network=network, **settings) for network in self.models)

    def learners(self, number: int = 0) -> tuple[ModelSpec, ...]:
        """All models: with the recipe's own seed, or with another by its number; no two ensembles of a name share a seed."""
        alone = {training.network.name: training for training in self.trainings()}

        def seeded(name: str, later: int) -> Training:
            return alone[name].model_copy(update={"seed": self.seed + later})

        def together(ensemble: Ensemble) -> ModelSpec:
            seeds = range(number * ensemble.seeds, (number + 1) * ensemble.seeds)
            first, *others = (seeded(name, later) for later in seeds for name in ensemble.members)
            return ModelSpec(training=first, others=tuple(others), ensemble=ensemble)

        return (*(ModelSpec(training=seeded(name, number)) for name in alone), *map(together, self.ensembles))


def unique_trainings(learners: Iterable[ModelSpec]) -> dict[str, Training]:
    """All trainings that the learners take, in order, each once, by their content."""
    return {training.model_dump_json(): training for learner in learners for training in learner.trainings}


def load_recipe(name_or_path: str, **changes: float | None) -> Recipe:
    """Load a recipe, with `changes` (epochs, seed, validation) in place of its own values where they are not None.

    Raises:
        RecipeError: it is unknown, unreadable, half-specified, or a change is out of range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return validate(_with_base(name_or_path) | given, Recipe, f"the recipe {name_or_path}", RecipeError)


def load_recipes(names_or_paths: Sequence[str], **changes: float | None) -> tuple[Recipe, ...]:
    """Load recipes to be compared with one another, each as `load_recipe` does.

    Raises:
        RecipeError: there is none, one can't be loaded, or two have one name.
    """
    if isinstance(names_or_paths, str) or not names_or_paths:
        raise RecipeError(f"give a list of one recipe or more, not {names_or_paths!r}")
    recipes = tuple(load_recipe(one, **changes) for one in names_or_paths)
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise RecipeError(f"recipes that are compared need different names, these are {', '.join(names)}")
    return recipes


def _with_base(name_or_path: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a recipe; where it names a `base`, those of that recipe in the place of what it does not say itself.

    Raises:
        RecipeError: one of them is unknown or unreadable, or they are each other's base.
    """
    values, path = read_toml(name_or_path, "recipe", RecipeError)
    if isinstance(models := values.get("models"), list):
        values["models"] = [resolve_function(model, path) for model in models]
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or path in above:
        raise RecipeError(f"the recipe {path}: base: give the name of another recipe, or the path of its .toml file")
    return _with_base(str(path.parent / base) if base.endswith(".toml") else base, (*above, path)) | values
