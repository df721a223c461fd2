"""Validation of the flow parameters that neither a recipe nor a dataset checks, and the titles and names of runs.

The command-line options are defined elsewhere, because they must not import slow modules.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

from prefect.runtime import flow_run
from prefect.utilities.names import generate_slug
from pydantic import StrictBool

from artifacts.common.formatting import counted
from tasks.base import Frozen
from tasks.config.dataset import Dataset, Name
from tasks.config.recipe import Recipe, Seed, load_recipe
from tasks.errors import InputError, RecipeError
from tasks.safety.plain_text import printable


class RunConfig(Frozen):
    """Validated parameters of a run."""

    dataset: Dataset
    recipe: Recipe
    line: Name
    gate: StrictBool
    robustness: StrictBool
    runner: str


_BY_DATE: Literal["date"] = "date"
# An ensemble uses the seeds after the first one. Two nights can share a date in UTC when the clocks change, but as they are
# 23 hours apart, they never share half a date.
_SEEDS_A_DATE = 100
_SEEDS_HALF_A_DATE = 50


def resolve_seed(value: object) -> Seed | None:
    """Return the seed of a run.

    `date` means the date (UTC) for which the run was scheduled, as in 2026112700, or 2026112750 from noon. A run keeps
    its scheduled date, however late it starts and however often it is retried. All other values are returned unchanged;
    the recipe rejects those that are not a seed.
    """
    if value == _BY_DATE:
        at: datetime = flow_run.scheduled_start_time.astimezone(UTC)
        return int(f"{at:%Y%m%d}") * _SEEDS_A_DATE + at.hour // 12 * _SEEDS_HALF_A_DATE
    return cast("Seed | None", value)


def load_run_recipe(
    recipe: str, *, epochs: int | None, seed: int | str | None, validation: float | None = None
) -> Recipe:
    """Return the recipe of a run, with the seed that `resolve_seed` returns.

    Raises:
        RecipeError: If the recipe or a value is invalid, or if an ensemble needs more seeds than belong to one run.
    """
    plan = load_recipe(recipe, epochs=epochs, seed=resolve_seed(seed), validation=validation)
    most = max((ensemble.seeds for ensemble in plan.ensembles), default=1)
    if seed == _BY_DATE and most > _SEEDS_HALF_A_DATE:
        raise RecipeError(
            f"the recipe {recipe}: an ensemble of {most} seeds would share seeds with the next run, because a seed from the "
            f"date has only {_SEEDS_HALF_A_DATE}; give the ensemble fewer seeds, or the run a number as its seed"
        )
    return plan


def run_title() -> str:
    """Return the title of the current run in Prefect's UI, such as `mnist post 3 epochs seed 1`."""
    given = flow_run.parameters
    dataset, recipe = (Path(str(given[name])).stem for name in ("dataset", "recipe"))
    try:
        plan = load_run_recipe(given["recipe"], epochs=given["epochs"], seed=given["seed"])
    except InputError:  # the run reports the error itself
        return printable(f"{dataset} {recipe}")
    return printable(f"{dataset} {plan.name} {counted(plan.epochs, 'epoch')} seed {plan.seed}")


def study_title() -> str:
    """Return the title of the current study in Prefect's UI, such as `mnist onecycle 10 seeds`."""
    given = flow_run.parameters
    recipes = given["recipes"] if isinstance(given["recipes"], list | tuple) else [given["recipes"]]
    names = [Path(str(name)).stem for name in (given["dataset"], *recipes)]
    return printable(f"{' '.join(names)} {given['seeds']} seeds")


def run_name() -> str:
    """Return a memorable name for the run's folder that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{generate_slug(2)}"
