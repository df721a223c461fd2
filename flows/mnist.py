"""The `mnist` flow, from the archives to the report.

The flow calls tasks, which exchange records. The data stays in files under the root.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from prefect import flow
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import RunConfig, validate_run
from flows.hooks import notify_webhook
from flows.processes.log_filters import hide_expected_tracebacks
from flows.processes.tied_to_worker import exit_with_parent
from flows.root_option import resolve_root
from flows.runners.base import wait_for_all
from flows.runners.factory import open_workers
from flows.server.flow_run_history import current_flow_run
from flows.server.flow_run_identity import current_run_name, identify_run, scheduled_time
from flows.server.secret_masking import keep_secrets_out_of_prefect
from flows.server.vetting import PROCESS
from flows.stages import submit_run_steps
from tasks.config.dataset import Name
from tasks.config.recipe import Epochs, Seed, ValidationFraction
from tasks.config.toml_loader import NameOrFile
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace, open_workspace
from tasks.errors import GateError, RunError
from tasks.history.comparable_runs import predecessor
from tasks.history.provenance import omissions_of, provenance_of, run_record, run_result, with_manifest
from tasks.history.run_store import save_run
from tasks.schemas.analysis import Decision
from tasks.schemas.evidence import RunRecords
from tasks.schemas.names import MAIN, automatic_tags
from tasks.schemas.records import ChangesRecord, Omission, ReportRecord
from tasks.schemas.results import RunResult
from tasks.schemas.runs import COMPARISON, Champion, RunRecord
from tasks.steps.champion import judge, promote
from tasks.steps.compare_runs import compare
from tasks.steps.publish_report import report, require_renderable
from tasks.steps.train import train
from tasks.storage.roots import validate_root


@flow(
    name="mnist",
    flow_run_name=current_run_name,
    task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)),  # for the four archives
    on_failure=[notify_webhook],
    on_crashed=[notify_webhook],
    validate_parameters=False,  # invalid parameters are rejected below with a one-line error
    persist_result=False,
)
def mnist(  # the UI shows the parameters and their descriptions as a form
    dataset: NameOrFile = "mnist",
    recipe: NameOrFile = "post",
    epochs: Epochs | None = None,
    seed: Seed | Literal["date"] | None = None,
    validation: ValidationFraction | None = None,
    gate: bool = True,
    robustness: bool = False,
    line: Name = MAIN,
    root: str | None = None,
    mirrors: Sequence[str] = (),
    runner: str = PROCESS,
) -> RunResult:
    """Train the models of a recipe, analyze their errors, and report what changed since the previous run.

    The archives are downloaded and verified first.

    Args:
        dataset: Name of a built-in dataset, such as mnist, or path of a TOML file on the worker's machine.
        recipe: Name of a built-in recipe, such as post, or path of a TOML file on the worker's machine.
        epochs: Passes over the training images, at least 1. Empty: the number in the recipe.
        seed: Seed of the trainings, at least 0. The same seed gives the same models. date: derived from the run's
            scheduled date, so that each nightly run trains new models. Empty: the recipe's seed.
        validation: Fraction of the training images to hold out for validation, from 0 to 0.5. Empty: the recipe's.
        gate: Whether the run fails if its best model does not pass the gate. The report is published in any case.
        robustness: Whether to evaluate all models on corrupted test images, too, for a section of the report.
        line: Champion line in which the best model competes. Runs with different recipes, such as 3 and 10 epochs, need
            separate lines.
        root: Folder of all files on the worker's machine, or s3://BUCKET/PREFIX. Empty: the worker's default
            root.
        mirrors: Mirrors to try first: http, https or file URLs.
        runner: Where the trainings run: process for the worker's machine, or the URL of a cluster that the worker
            allows (--allow-runner).
    """
    hide_expected_tracebacks()
    keep_secrets_out_of_prefect()
    exit_with_parent()
    config = validate_run(
        at=scheduled_time(),
        dataset=dataset,
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        validation=validation,
        gate=gate,
        robustness=robustness,
        line=line,
        root=root or None,
        mirrors=mirrors,
        runner=runner,
    )
    with open_workspace(validate_root(resolve_root(root or None)), current_run_name()) as opened:
        tags = automatic_tags(config.dataset.name, [config.recipe.name], config.line)
        result = _run_pipeline(config, identify_run(opened, tags))
    if config.gate:
        _require_gate(result)
    return cast("RunResult", Completed(message=result.verdict, data=result))  # the list of runs shows the message


def _run_pipeline(config: RunConfig, work: Workspace) -> RunResult:
    """Download → decode → train → evaluate → explain → analyze → report."""
    omissions: list[Omission] = []
    # On a root without trainings, the workers import TensorFlow while the archives are downloaded.
    with open_workers(
        config.runner, config.recipe.model_specs(), work.root, ahead=not train.has_any_record(work.root)
    ) as workers:
        records, drawing = submit_run_steps(config, workers, work, omissions)
    records = wait_for_all(records)
    with optional("figures", omissions):
        records = replace(records, figures=drawing.result())
    omissions += omissions_of(records.steps)

    run = run_record(config.dataset, config.recipe, config.line, records, work, current_flow_run(work.root))
    before, changes = _compare_with_previous_run(run, work, omissions)
    decision = judge(run, work)
    return _publish_run(run, records, before, changes, decision, work, [*omissions, *decision.omitted])


def _compare_with_previous_run(
    run: RunRecord, work: Workspace, omissions: list[Omission]
) -> tuple[RunRecord | None, ChangesRecord | None]:
    """Return the run that this one was compared with and the changes since then, or None and None."""
    with optional(f"{COMPARISON}s before this one", omissions):
        before, missed = predecessor(work.root, run)
        for omission in missed:
            log(omission.line, logging.WARNING)
        omissions += missed
        if before:
            with optional(f"{COMPARISON} {before.run}", omissions):
                changes = compare(before, run, work)
                require_renderable(changes, work)
                omissions += changes.omitted
                return before, changes
    return None, None


def _publish_run(
    run: RunRecord,
    records: RunRecords,
    before: RunRecord | None,
    changes: ChangesRecord | None,
    decision: Decision,
    work: Workspace,
    omissions: Sequence[Omission],
) -> RunResult:
    """Publish the report of a run, register the run as finished, and promote its best model if the gate allows it."""
    published, run = _publish_and_register(run, records, changes, decision, work, omissions)
    late: list[Omission] = []
    champion = None
    with optional("promotion to champion", late):
        champion = _promote_best_model(run, decision, work)
    if late:  # the published report says that the model was promoted
        decision = decision.model_copy(update={"withheld": late[0].why})
        published, run = _publish_and_register(run, records, changes, decision, work, [*omissions, *late])
    return run_result(run, records, changes, published, decision, work, champion=champion, before=before)


def _publish_and_register(
    run: RunRecord,
    records: RunRecords,
    changes: ChangesRecord | None,
    decision: Decision,
    work: Workspace,
    omissions: Sequence[Omission],
) -> tuple[ReportRecord, RunRecord]:
    where_from = provenance_of(records.data, records.steps, work, run.flow_run)
    layers = tuple(records.layers.values())
    published = report(
        records.analysis, records.figures, changes, decision, where_from, work, omissions, described=layers
    )
    steps = [*records.steps, *([changes] if changes else [])]
    return published, save_run(with_manifest(run, steps, published), work)


def _promote_best_model(run: RunRecord, decision: Decision, work: Workspace) -> Champion | None:
    """Return the champion that the run's best model has become, or None if it should not be promoted."""
    champion = promote(run, decision, work)
    if decision.promotes and champion is None:
        raise RunError("the champion has changed in the meantime, and this model may not replace the new one")
    return champion


def _require_gate(result: RunResult) -> None:
    """Check that the best model of a run passed the gate."""
    failed = [check for check in result.decision.checks if not check.passed]
    if failed:
        why = "; ".join(f"{check.name}: no, {check.found}" for check in failed)
        report = f"{result.root}/{result.report['html']}"
        raise GateError(f"the gate failed: {result.decision.challenger} is not promoted; {why}; see {report}", result)


if __name__ == "__main__":
    from flows.cli.app import main

    main(["run", *sys.argv[1:]])
