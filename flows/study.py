"""The `study` flow: the same models with many seeds, to separate real differences from the effect of the seed.

A study uses the same steps and records as a run, so trainings of runs and earlier studies are found in the cache.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect import flow
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import validate_study
from flows.hooks import notify_webhook
from flows.processes.log_filters import hide_expected_tracebacks
from flows.processes.tied_to_worker import exit_with_parent
from flows.root_option import resolve_root
from flows.runners.base import wait_for_all
from flows.runners.factory import open_workers
from flows.server.flow_run_history import current_flow_run
from flows.server.flow_run_identity import current_run_name, identify_run
from flows.server.secret_masking import keep_secrets_out_of_prefect
from flows.server.vetting import PROCESS
from flows.stages import TrainingCount, submit_study_steps
from tasks.config.dataset import Dataset
from tasks.config.recipe import Epochs
from tasks.config.toml_loader import NameOrFile
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace, open_workspace
from tasks.history.provenance import provenance_of, study_result, study_run
from tasks.history.run_store import save_run
from tasks.schemas.names import automatic_tags
from tasks.schemas.results import StudyResult
from tasks.schemas.study import ENOUGH_SEEDS, SeedRun
from tasks.steps.publish_study import publish_study
from tasks.steps.study_analysis import plan_seed_runs
from tasks.steps.train import train
from tasks.storage.roots import validate_root


@flow(
    name="study",
    flow_run_name=current_run_name,
    task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)),
    on_failure=[notify_webhook],
    on_crashed=[notify_webhook],
    validate_parameters=False,  # invalid parameters are rejected below with a one-line error
    persist_result=False,
)
def study(
    dataset: NameOrFile = "mnist",
    recipes: Sequence[NameOrFile] = ("post",),
    seeds: int = 10,
    epochs: Epochs | None = None,
    root: str | None = None,
    mirrors: Sequence[str] = (),
    runner: str = PROCESS,
) -> StudyResult:
    """Train the models of the recipes with many seeds, and report which differences are significant.

    A difference is significant if it exceeds the variation from seed to seed and from image to image.

    Args:
        dataset: Name of a built-in dataset, such as mnist, or path of a TOML file on the worker's machine.
        recipes: Names of built-in recipes, such as post or onecycle, or paths of TOML files on the worker's machine.
            All models of all recipes are compared.
        seeds: Number of seeds, at least 2: the recipe's own seed and the seeds that follow it.
        epochs: Passes over the training images, at least 1. Empty: the number in each recipe.
        root: Folder of all files on the worker's machine, or s3://BUCKET/PREFIX. Empty: the worker's default
            root.
        mirrors: Mirrors to try first: http, https or file URLs.
        runner: Where the trainings run: process for the worker's machine, or the URL of a cluster that the worker
            allows (--allow-runner).
    """
    hide_expected_tracebacks()
    keep_secrets_out_of_prefect()
    exit_with_parent()
    config = validate_study(
        dataset=dataset, recipes=recipes, seeds=seeds, epochs=epochs, root=root or None, mirrors=mirrors, runner=runner
    )
    trials = plan_seed_runs(config.recipes, seeds)
    if seeds < ENOUGH_SEEDS:
        log(
            f"{seeds} seeds give a poor estimate of the variation between seeds; use {ENOUGH_SEEDS} or more",
            logging.WARNING,
        )
    with open_workspace(validate_root(resolve_root(root or None)), current_run_name()) as opened:
        tags = automatic_tags(config.dataset.name, [recipe.name for recipe in config.recipes])
        result = _run_study(config.dataset, trials, config.runner, identify_run(opened, tags))
    return cast("StudyResult", Completed(message=result.verdict, data=result))


def _run_study(dataset: Dataset, trials: Mapping[str, SeedRun], runner: str, work: Workspace) -> StudyResult:
    """Download → decode → train → evaluate → compare over all seeds → report."""
    with open_workers(runner, trials.values(), work.root, ahead=not train.has_any_record(work.root)) as workers:
        data, trained, predictions, analyzing = submit_study_steps(dataset, trials, workers, work)
        wait_for_all((trained, predictions), TrainingCount(trained.trainings.values()).add)
    data, trained, predictions, analyzed = wait_for_all((data, trained, predictions, analyzing))
    steps = [*data.steps, *trained.steps, *predictions.values(), analyzed]

    flow_run = current_flow_run(work.root)
    published = publish_study(analyzed, provenance_of(data, steps, work, flow_run), work)
    save_run(study_run(dataset, list(trials.values()), data, steps, published, work, flow_run), work)
    return study_result(dataset, analyzed, steps, published, work, flow_run)
