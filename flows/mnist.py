"""The flow: from the archives to the report.

Every line calls a task; what travels between them are records, and the data stays in files under the root.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.events import tell
from flows.learners import distinct, learned
from flows.logs import one_line_errors
from flows.masking import keep_out_of_prefect
from flows.options import root_of
from flows.orphans import end_with_worker
from flows.parameters import flag, named
from flows.runner import checked_runner, workers_of
from flows.splits import data_of
from flows.titles import run_name, title
from flows.vetting import PROCESS
from flows.workers import finished
from tasks.analyse import analyse
from tasks.architecture import ArchitectureRecord
from tasks.attribute import attribute
from tasks.champion import judge, promote
from tasks.compare import compare
from tasks.dataset import Dataset, Name, load_dataset
from tasks.describe import describe
from tasks.draw import draw
from tasks.errors import GateError
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.files import checked_root
from tasks.measure import measure
from tasks.profile import profile
from tasks.provenance import provenance_of, run_record, run_result, with_chain
from tasks.recipe import Epochs, HeldOut, Recipe, Seed, load_recipe
from tasks.records import TEST, TRAIN
from tasks.report import report
from tasks.results import RunResult
from tasks.runs import MAIN, last_run, remember
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
    seed: Seed | None = None,
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
        seed: Seed of the trainings, from 0. The same seed gives the same models. Empty: the recipe's.
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
    source, plan = load_dataset(dataset, mirrors), load_recipe(recipe, epochs=epochs, seed=seed, validation=validation)
    must_pass, harder = flag("gate", gate), flag("robustness", robustness)
    champions, where = named("line", line), checked_runner(runner)
    with at_work(checked_root(root_of(root)), run_name()) as work:
        result = way_of_the_data(source, plan, champions, where, work, began, robustness=harder)
    return finished_with(passed(result) if must_pass else result)


def way_of_the_data(
    source: Dataset, plan: Recipe, champions: str, runner: str, work: Workspace, began: datetime, *, robustness: bool
) -> RunResult:
    """All steps, in the order of the data."""
    # On a root that has seen no training, TensorFlow is imported while the archives come.
    learners = plan.learners()
    with workers_of(runner, len(distinct(learners)), work.root, ahead=not ever_kept(train, work.root)) as workers:
        data = data_of(source, work)
        splits, looked_at = data.splits, data.looked_at
        counts = profile.submit(splits[TRAIN], splits[TEST], work)
        measures = measure.submit(looked_at[TEST], work)
        models, learning = learned(learners, [one.name for one in learners], splits[TRAIN], workers, work)
        predictions = [workers.submit(evaluate, model, splits[TEST], work) for model in models]
        trained = [
            workers.submit(attribute, model, found, looked_at[TRAIN], looked_at[TEST], work)
            for model, found in zip(models, predictions, strict=True)
        ]
        selection = select.submit(predictions, looked_at[TEST], work)  # type: ignore[arg-type]
        explanations = [
            workers.submit(explain, *of, selection, looked_at[TEST], work)
            for of in zip(models, predictions, trained, strict=True)
        ]
        described = [workers.submit(describe, model, work) for model in models]
        stressed = [workers.submit(stress, model, looked_at[TEST], work) for model in models if robustness]
        judging: list[PrefectFuture[Any]] = [*predictions, *trained, selection, *explanations, *described, *stressed]
        finished([counts, measures, *learning, *judging])
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
        figures = draw.submit(analysis, work)
    records = finished([*data.steps, counts, measures, *learning, *judging, analysis, figures])

    this = run_record(records, source, plan, champions, work, began)
    last = last_run(work.root, source.name)
    changes = compare(last, this, work) if last else None
    decision = judge(this, work)
    analysed, drawn = records[-2:]
    networks = [record for record in records if isinstance(record, ArchitectureRecord)]
    published = report(analysed, drawn, changes, decision, provenance_of(records, work, began), work, networks)
    remember(with_chain(this, records, changes, published), work)
    promote(this, decision, work)
    return run_result(records, this, analysed, published, decision, work)


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
