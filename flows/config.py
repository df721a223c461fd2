"""Validation of the parameters of runs and studies.

The commands validate the parameters before they start a server, and the flows validate them again, because a run may
come from Prefect's UI. Therefore, this module imports neither Prefect nor any other slow library. The options of the
commands are defined elsewhere, because they must not even import pydantic.
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Literal, cast

from pydantic import StrictBool

from flows.root_option import require_usable_root
from flows.server.vetting import PROCESS, RUNNERS
from tasks.base import Frozen
from tasks.config.dataset import Dataset, Name, load_dataset, mirror_addresses
from tasks.config.recipe import Epochs, Recipe, Seed, ValidationFraction, load_recipe, load_recipes
from tasks.config.toml_loader import validate
from tasks.errors import Checks, InputError, RecipeError
from tasks.safety.address import fault_of_url
from tasks.training.layer_shapes import require_fitting_layers

CLUSTER = re.compile(r"(?P<kind>dask|tls|ray)://(?P<address>[^/@\s]+:\d+)")
RUNNER_LIBRARIES = {
    "dask": "dask",
    "tls": "dask",
    "ray": "ray",
}  # by scheme; Dask's name for its encrypted protocol is tls
_MAX_SEEDS = 1000
_OWN_NAMES: Mapping[str, str] = {}  # parameters have the names of the flows' parameters
_BY_DATE: Literal["date"] = "date"
# An ensemble uses the seeds after the first one. Two nights can share a date in UTC when the clocks change, but as they are
# 23 hours apart, they never share half a date.
_SEEDS_A_DATE = 100
_SEEDS_HALF_A_DATE = 50


class RunOptions(Frozen):
    """Parameters of a run that are valid or invalid on their own. None stands for the value of the recipe."""

    epochs: Epochs | None
    seed: Seed | None
    validation: ValidationFraction | None
    line: Name
    gate: StrictBool
    robustness: StrictBool


class RunConfig(Frozen):
    """Validated parameters of a run."""

    dataset: Dataset
    recipe: Recipe
    line: Name
    gate: StrictBool
    robustness: StrictBool
    runner: str


class StudyOptions(Frozen):
    """Parameters of a study that are valid or invalid on their own."""

    epochs: Epochs | None


class StudyConfig(Frozen):
    """Validated parameters of a study."""

    dataset: Dataset
    recipes: tuple[Recipe, ...]
    seeds: int
    runner: str


def validate_run(
    *,
    at: datetime,
    dataset: str,
    recipe: str,
    epochs: int | None,
    seed: int | str | None,
    validation: float | None,
    gate: bool,
    robustness: bool,
    line: str,
    root: str | None,
    mirrors: Sequence[str],
    runner: str,
    names: Mapping[str, str] = _OWN_NAMES,
) -> RunConfig:
    """Validate all parameters of a run that is scheduled for the time `at`; write nothing, and connect to nothing.

    `names` are the names of parameters in messages, such as those of options.

    Raises:
        InputError: If parameters are invalid, do not fit each other, or name invalid files. The error has all faults.
        StorageError: If the root cannot be read or written, and nothing else is wrong.
    """
    checks = Checks()
    changes = {"epochs": epochs, "seed": resolve_seed(seed, at), "validation": validation}
    others = {"line": line, "gate": gate, "robustness": robustness}
    valid = checks.run(validate, changes | others, RunOptions, "", InputError, names=names)
    plan = checks.run(load_run_recipe, recipe, dated=seed == _BY_DATE, **changes if valid else {})
    found = _validate_shared(checks, [plan], dataset, mirrors, runner, root, names)
    return validate({**found, **others, "recipe": plan}, RunConfig, "", InputError)


def validate_study(
    *,
    dataset: str,
    recipes: Sequence[str],
    seeds: int,
    epochs: int | None,
    root: str | None,
    mirrors: Sequence[str],
    runner: str,
    names: Mapping[str, str] = _OWN_NAMES,
) -> StudyConfig:
    """Validate all parameters of a study as `validate_run` does those of a run.

    Raises:
        InputError: If parameters are invalid, do not fit each other, or name invalid files. The error has all faults.
        StorageError: If the root cannot be read or written, and nothing else is wrong.
    """
    checks = Checks()
    checks.run(_require_seeds, seeds, names.get("seeds", "seeds"))
    valid = checks.run(validate, {"epochs": epochs}, StudyOptions, "", InputError, names=names)
    plans = checks.run(load_recipes, recipes, epochs=valid.epochs if valid else None)
    found = _validate_shared(checks, plans or (), dataset, mirrors, runner, root, names)
    return validate({**found, "recipes": plans, "seeds": seeds}, StudyConfig, "", InputError)


def _validate_shared(
    checks: Checks,
    recipes: Sequence[Recipe | None],
    dataset: str,
    mirrors: Sequence[str],
    runner: str,
    root: str | None,
    names: Mapping[str, str],
) -> dict[str, Any]:
    """Validate the parameters that runs and studies share, and raise the faults of all checks so far.

    Returns:
        The dataset and the runner, by name.
    """
    given = checks.run(mirror_addresses, mirrors, what=names.get("mirrors", "mirror"))
    loaded = checks.run(load_dataset, dataset, given or ())
    allowed = checks.run(require_allowed_runner, runner, names.get("runner", "runner"))
    checks.run(require_usable_root, root)
    _require_fit(checks, recipes, loaded)
    checks.raise_faults()
    return {"dataset": loaded, "runner": allowed}


def _require_fit(checks: Checks, recipes: Sequence[Recipe | None], dataset: Dataset | None) -> None:
    """Check that the layers of valid recipes fit the images of a valid dataset."""
    for recipe in recipes:
        if recipe and dataset:
            checks.run(require_fitting_layers, recipe, dataset.shape, len(dataset.classes))


def _require_seeds(seeds: object, name: str) -> None:
    """Reject fewer than two seeds, which give no variance, and more than the maximum."""
    if type(seeds) is not int or not 2 <= seeds <= _MAX_SEEDS:  # bool is a subclass of int
        reason = ": a single seed has no variance" if seeds == 1 else ""
        raise InputError(f"{name} must be an integer from 2 to {_MAX_SEEDS:,}, got {seeds!r}{reason}")


def validate_runner(value: object, name: str = "runner") -> str:
    """Return the name of a runner; `name` is that of the option in messages.

    Raises:
        InputError: If the value is not the name of a runner, or its library is missing.
    """
    cluster = CLUSTER.fullmatch(value) if isinstance(value, str) else None
    if value != PROCESS and (not cluster or fault_of_url(cluster.string)):
        raise InputError(
            f"{name} must be {PROCESS}, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT, got {value!r}"
        )
    return str(value)


def require_allowed_runner(value: object, name: str = "runner") -> str:
    """Return the name of a runner that this process may use.

    If the variable MNIST_RUNNERS is set, it lists the allowed clusters. The results of a cluster are unpickled, so a
    worker must not use an arbitrary address from a run's parameters.

    Raises:
        InputError: If the value is not the name of a runner, its library is missing, or it is not allowed here.
    """
    runner, allowed = validate_runner(value, name), os.environ.get(RUNNERS)
    if runner != PROCESS and allowed is not None and runner not in allowed.split():
        raise InputError(f"the runner {runner} is not allowed here: start the worker with --allow-runner {runner}")
    library = f"prefect_{RUNNER_LIBRARIES[runner.partition('://')[0]]}" if runner != PROCESS else ""
    if library and find_spec(library) is None:
        raise missing_library(runner, library)
    return runner


def missing_library(runner: str, library: str | None) -> InputError:
    """Return the error of a runner whose library is not installed."""
    kind = runner.partition("://")[0]
    return InputError(f"--runner {kind} needs {library}: pip install 'mnist-error-analysis[{RUNNER_LIBRARIES[kind]}]'")


def resolve_seed(value: object, at: datetime) -> Seed | None:
    """Return the seed of a run that is scheduled for the time `at`.

    `date` means the date (UTC) for which the run was scheduled, as in 2026112700, or 2026112750 from noon. A run keeps
    its scheduled date, however late it starts and however often it is retried. All other values are returned unchanged;
    the recipe rejects those that are not a seed.
    """
    if value == _BY_DATE:
        at = at.astimezone(UTC)
        return int(f"{at:%Y%m%d}") * _SEEDS_A_DATE + at.hour // 12 * _SEEDS_HALF_A_DATE
    return cast("Seed | None", value)


def load_run_recipe(recipe: str, *, dated: bool = False, **changes: Any) -> Recipe:
    """Return the recipe of a run, changed as by `load_recipe`; `dated` means that its seed comes from a date.

    Raises:
        RecipeError: If the recipe or a value is invalid, or if an ensemble needs more seeds than belong to one run.
    """
    plan = load_recipe(recipe, **changes)
    most = max((ensemble.seeds for ensemble in plan.ensembles), default=1)
    if dated and most > _SEEDS_HALF_A_DATE:
        raise RecipeError(
            f"the recipe {recipe}: an ensemble of {most} seeds would share seeds with the next run, because a seed from the "
            f"date has only {_SEEDS_HALF_A_DATE}; give the ensemble fewer seeds, or the run a number as its seed"
        )
    return plan
