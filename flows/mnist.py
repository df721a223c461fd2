"""The flow: from the archives to the report.

Every line calls a task; what travels between them are records, and the data stays in files under the root.
"""

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.events import tell
from flows.history import flow_run_under_way
from flows.learners import distinct, learned
from flows.logs import one_line_errors
from flows.masking import keep_out_of_prefect
from flows.options import root_of
from flows.orphans import end_with_worker
from flows.parameters import flag, named, seed_of
from flows.runner import checked_runner, workers_of
from flows.splits import data_of
from flows.titles import run_name, title
from flows.vetting import PROCESS
from flows.workers import available, finished
from tasks.analyse import analyse
from tasks.analysis import AnalysisRecord, Decision
from tasks.architecture import ArchitectureRecord
from tasks.attribute import attribute
from tasks.champion import judge, promote
from tasks.compare import compare
from tasks.dataset import Dataset, Name, load_dataset
from tasks.describe import describe
from tasks.draw import draw
from tasks.errors import GateError, RunError
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.files import checked_root
from tasks.fitting import refuse_misfits
from tasks.log import say
from tasks.measure import measure
from tasks.optional import optional
from tasks.profile import profile
from tasks.provenance import of, omissions_of, provenance_of, run_record, run_result, with_chain
from tasks.recipe import Epochs, HeldOut, Recipe, Seed, load_recipe
from tasks.records import TEST, TRAIN, ChangesRecord, FiguresRecord, Omission, ReportRecord
from tasks.report import report
from tasks.results import RunResult
from tasks.runs import COMPARISON, MAIN, Champion, RunRecord, predecessor, remember
from tasks.select import select
from tasks.step import ever_kept
from tasks.stress import stress
from tasks.toml import NameOrFile
from tasks.train import train
from tasks.workspace import Workspace, at_work


@flow(
    name="mnist",
    flow_run_name=title,
    task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)),  # four archives at once
    on_failure=[tell],
    on_crashed=[tell],
    validate_parameters=False,  # what is refused is refused below, in one line
    persist_result=False,
)
def mnist(  # the parameters and what is said of them are the form that the UI shows
    dataset: NameOrFile = "mnist",
    recipe: NameOrFile = "post",
    epochs: Epochs | None = None,
    seed: Seed | Literal["date"] | None = None,
    validation: HeldOut | None = None,
    gate: bool = True,
    robustness: bool = False,
    line: Name = MAIN,
    root: str | None = None,
    mirrors: Sequence[str] = (),
    runner: str = PROCESS,
) -> RunResult:
    """Download and verify the archives, train both models, and report what they get wrong, which is better, what changed.

    Args:
        dataset: A built-in data set (mnist), or the path of a .toml file on the worker's machine.
        recipe: A built-in recipe (post), or the path of a .toml file on the worker's machine.
        epochs: Passes over the training images, from 1. Empty: the recipe's.
        seed: Seed of the trainings, from 0. The same seed gives the same models. date: made from the run's scheduled date, so
            that each night trains anew. Empty: the recipe's.
        validation: Share of the training images to hold out, from 0 to 0.5. Empty: the recipe's.
        gate: Whether the run fails, once its report is published, if its best model does not pass the gate.
        robustness: Whether all models are also asked about corrupted test images, for a section of the report.
        line: The line of champions that the best model competes in. Runs of unlike recipes, such as of 3 and of 10 epochs, need
            lines of their own.
        root: Folder of all files on the worker's machine, or s3://BUCKET/PREFIX. Empty: MNIST_ROOT of the worker, else data/.
        mirrors: Where to look for the archives first: http, https or file addresses.
        runner: Where the trainings run: process, on the worker's machine, or a cluster that the worker was started with
            (--allow-runner).
    """
    began = datetime.now(UTC)
    one_line_errors()
    keep_out_of_prefect()
    end_with_worker()
    source = load_dataset(dataset, mirrors)
    plan = load_recipe(recipe, epochs=epochs, seed=seed_of(seed), validation=validation)
    refuse_misfits(plan, source.shape, len(source.classes))
    must_pass, harder = flag("gate", gate), flag("robustness", robustness)
    champions, where = named("line", line), checked_runner(runner)
    with at_work(checked_root(root_of(root)), run_name()) as work:
        result = way_of_the_data(source, plan, champions, where, work, began, robustness=harder)
    return finished_with(passed(result) if must_pass else result)


def way_of_the_data(
    source: Dataset, plan: Recipe, champions: str, runner: str, work: Workspace, began: datetime, *, robustness: bool
) -> RunResult:
    """All steps, in the order of the data."""
    omitted: list[Omission] = []
    records = findings_of(source, plan, runner, work, omitted, robustness=robustness)
    this = run_record(records, source, plan, champions, work, began, flow_run_under_way(work.root))
    last, changes = since_last_run(this, work, omitted)
    decision = judge(this, work)
    omitted += decision.omitted
    published, this = registered(this, records, changes, decision, work, omitted)
    late: list[Omission] = []
    champion = None
    with optional("promotion to champion", late):
        champion = promoted(this, decision, work)
    if late:  # the report says otherwise
        decision = decision.model_copy(update={"withheld": late[0].why})
        published, this = registered(this, records, changes, decision, work, [*omitted, *late])
    (analysis,) = of(AnalysisRecord, records)
    return run_result(records, this, analysis, published, decision, champion, last, work)


def findings_of(
    source: Dataset, plan: Recipe, runner: str, work: Workspace, omitted: list[Omission], *, robustness: bool
) -> list[Any]:
    """The records of all steps from the archives to the figures, in the order of the data."""
    # On a root that has seen no training, TensorFlow is imported while the archives come.
    learners = plan.learners()
    names = [one.name for one in learners]
    with workers_of(runner, len(distinct(learners)), work.root, ahead=not ever_kept(train, work.root)) as workers:
        data = data_of(source, work)
        splits, looked_at = data.splits, data.looked_at
        counts = profile.submit(splits[TRAIN], splits[TEST], work)
        measures = measure.submit(looked_at[TEST], work)
        models, learning = learned(learners, names, splits[TRAIN], workers, work)
        predictions = [workers.submit(evaluate, model, splits[TEST], work) for model in models]
        trained = [
            workers.submit(attribute, model, found, looked_at[TRAIN], looked_at[TEST], work)
            for model, found in zip(models, predictions, strict=True)
        ]
        selection = select.submit(predictions, looked_at[TEST], work)  # type: ignore[arg-type]
        explaining = [
            workers.submit(explain, *each, selection, looked_at[TEST], work)
            for each in zip(models, predictions, trained, strict=True)
        ]
        describing = [workers.submit(describe, model, work) for model in models]
        stressing = [workers.submit(stress, model, looked_at[TEST], work) for model in models if robustness]
        required: list[PrefectFuture[Any]] = [counts, measures, *learning, *predictions, *trained, selection]
        finished(required)
        explanations = available([f"explanations of {name}" for name in names], explaining, omitted)
        described = available([f"layers of {name}" for name in names], describing, omitted)
        stressed = available([f"robustness of {name}" for name in names if robustness], stressing, omitted)
        # Submitted before the workers end, which takes them a second.
        analysis = analyse.submit(  # type: ignore[call-overload]
            source,
            plan,
            counts,
            measures,
            looked_at[TRAIN],
            looked_at[TEST],
            models,
            trained,
            predictions,
            selection,
            explanations,
            stressed,
            work,
        )
        drawing = draw.submit(analysis, work)
    records = finished([*data.steps, *required, *explanations, *described, *stressed, analysis])
    records += finished(available(["figures"], [drawing], omitted))
    omitted += omissions_of(records)
    return records


def since_last_run(
    this: RunRecord, work: Workspace, omitted: list[Omission]
) -> tuple[RunRecord | None, ChangesRecord | None]:
    """The run that this one was compared with, and what changed."""
    last, changes = None, None
    with optional(f"{COMPARISON}s before this one", omitted):
        last, missed = predecessor(work.root, this)
        for one in missed:
            say(one.line, logging.WARNING)
        omitted += missed
    if last:
        with optional(f"{COMPARISON} {last.run}", omitted):
            changes = compare(last, this, work)
            omitted += changes.omitted
    return last if changes else None, changes


def registered(
    this: RunRecord,
    records: Sequence[Any],
    changes: ChangesRecord | None,
    decision: Decision,
    work: Workspace,
    omitted: Sequence[Omission],
) -> tuple[ReportRecord, RunRecord]:
    """Report a run and register it as finished."""
    (analysis,) = of(AnalysisRecord, records)
    figures = next(iter(of(FiguresRecord, records)), None)
    where_from = provenance_of(records, work, this.began)
    networks = of(ArchitectureRecord, records)
    published = report(analysis, figures, changes, decision, where_from, work, omitted, networks)
    return published, remember(with_chain(this, records, changes, published), work)


def promoted(this: RunRecord, decision: Decision, work: Workspace) -> Champion | None:
    """The champion that the run's best model has become; None if it should not.

    Raises:
        RunError: another run's has become the champion meanwhile.
    """
    champion = promote(this, decision, work)
    if decision.promotes and champion is None:
        raise RunError("a model that it does not come up to has become the champion meanwhile")
    return champion


def finished_with(result: RunResult) -> RunResult:
    """The result as a state whose message is the verdict, for who looks at the list of runs."""
    return cast("RunResult", Completed(message=result.verdict, data=result))


def passed(result: RunResult) -> RunResult:
    """The result of a run whose best model passed the gate.

    Raises:
        GateError: it did not.
    """
    failed = [check for check in result.decision.checks if not check.passed]
    if failed:
        why = "; ".join(f"{check.name}: no, {check.found}" for check in failed)
        report = f"{result.root}/{result.report['html']}"
        raise GateError(f"the gate failed: {result.decision.challenger} is not promoted; {why}; see {report}", result)
    return result


if __name__ == "__main__":
    from flows.cli import main

    main(["run", *sys.argv[1:]])
