"""Titles: what a run is called, for the person in the UI and for the folder under the root."""

from datetime import UTC, datetime
from pathlib import Path

from prefect.runtime import flow_run
from prefect.utilities.names import generate_slug

from flows.parameters import seed_of
from tasks.config.recipe import load_recipe
from tasks.errors import InputError
from tasks.safety.plain_text import shown


def title() -> str:
    """The run under way in Prefect's UI, such as `mnist post 3 epochs seed 1`: what distinguishes it from the others."""
    given = flow_run.parameters
    dataset, recipe = (Path(str(given[name])).stem for name in ("dataset", "recipe"))
    try:
        plan = load_recipe(given["recipe"], epochs=given["epochs"], seed=seed_of(given["seed"]))
    except InputError:  # the run will say so
        return shown(f"{dataset} {recipe}")
    epochs = f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"
    return shown(f"{dataset} {plan.name} {epochs} seed {plan.seed}")


def study_title() -> str:
    """The study under way in Prefect's UI, such as `mnist onecycle 10 seeds`."""
    given = flow_run.parameters
    recipes = given["recipes"] if isinstance(given["recipes"], list | tuple) else [given["recipes"]]
    names = [Path(str(name)).stem for name in (given["dataset"], *recipes)]
    return shown(f"{' '.join(names)} {given['seeds']} seeds")


def run_name() -> str:
    """A name for the run's folder that sorts by time and can be remembered."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{generate_slug(2)}"
