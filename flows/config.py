"""Parameters of the flows that no recipe or data set checks, and what a run is called.

Apart from the command's options, which must import nothing that takes long.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from prefect.runtime import flow_run
from prefect.utilities.names import generate_slug
from pydantic import TypeAdapter, ValidationError

from tasks.config.dataset import Dataset, Name
from tasks.config.recipe import Recipe, Seed, load_recipe
from tasks.config.toml_loader import shorten_value
from tasks.errors import InputError
from tasks.safety.plain_text import printable


@dataclass(frozen=True)
class RunConfig:
    """The parameters of a run, checked: what is trained on what, where, and what the report asks of the models."""

    dataset: Dataset
    recipe: Recipe
    line: Name
    gate: bool
    robustness: bool
    runner: str


_BY_DATE: Literal["date"] = "date"
_SEEDS_A_DATE = 100  # an ensemble takes the seeds that follow the first: two dates share none


def validate_bool(name: str, value: object) -> bool:
    """A parameter that is true or false.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be true or false, not {value!r}")


def validate_name(name: str, value: object) -> str:
    """A parameter that becomes part of a file's name.

    Raises:
        InputError: it is none.
    """
    try:
        return TypeAdapter(Name).validate_python(value)
    except ValidationError as error:
        raise InputError(
            f"{name} must be up to 64 small letters, digits and _, from a letter on, not {shorten_value(value)}"
        ) from error


def resolve_seed(value: object) -> Seed | None:
    """The seed of a run: `date` stands for the date for which the run was scheduled (UTC), such as 2026112700.

    A run keeps its scheduled date however late it starts, and however often it is retried. All other values are left to the
    recipe, which refuses what is no seed.
    """
    return _date_seed(flow_run.scheduled_start_time) if value == _BY_DATE else cast("Seed | None", value)


def _date_seed(moment: datetime) -> int:
    """The first seed of a date (UTC)."""
    return int(f"{moment.astimezone(UTC):%Y%m%d}") * _SEEDS_A_DATE


def run_title() -> str:
    """The run under way in Prefect's UI, such as `mnist post 3 epochs seed 1`: what distinguishes it from the others."""
    given = flow_run.parameters
    dataset, recipe = (Path(str(given[name])).stem for name in ("dataset", "recipe"))
    try:
        plan = load_recipe(given["recipe"], epochs=given["epochs"], seed=resolve_seed(given["seed"]))
    except InputError:  # the run will say so
        return printable(f"{dataset} {recipe}")
    epochs = f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"
    return printable(f"{dataset} {plan.name} {epochs} seed {plan.seed}")


def study_title() -> str:
    """The study under way in Prefect's UI, such as `mnist onecycle 10 seeds`."""
    given = flow_run.parameters
    recipes = given["recipes"] if isinstance(given["recipes"], list | tuple) else [given["recipes"]]
    names = [Path(str(name)).stem for name in (given["dataset"], *recipes)]
    return printable(f"{' '.join(names)} {given['seeds']} seeds")


def run_name() -> str:
    """A name for the run's folder that sorts by time and can be remembered."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{generate_slug(2)}"
