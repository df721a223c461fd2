"""The flow: from the archives to the report.

Every line calls a task; what travels between them are records, and the data stays in files under the root.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.names import generate_slug
from pydantic import Field

from flows.logs import one_line_errors
from flows.options import default_root
from flows.workers import finished, worker_processes
from tasks.analyse import analyse
from tasks.champion import judge, promote
from tasks.compare import compare
from tasks.dataset import load_dataset
from tasks.decode import decode
from tasks.download import download
from tasks.errors import GateError
from tasks.evaluate import evaluate
from tasks.explain import explain
from tasks.files import checked_root
from tasks.profile import profile
from tasks.provenance import provenance_of, run_record, run_result
from tasks.recipe import load_recipe
from tasks.records import TEST, TRAIN
from tasks.report import report
from tasks.results import RunResult
from tasks.runs import last_run, remember
from tasks.select import select
from tasks.train import train
from tasks.workspace import Workspace


def run_name() -> str:
    """A name for a run that sorts by time and can be remembered: of its folder, and in Prefect's UI."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{generate_slug(2)}"


@flow(
    name="mnist",
    flow_run_name=run_name,
    task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)),  # four archives at once
    validate_parameters=False,  # what is refused is refused below, in one line
    persist_result=False,
)
def mnist(  # the parameters are the form that the UI shows
    dataset: Annotated[str, Field(description="A built-in data set, or the path of a .toml file")] = "mnist",
    recipe: Annotated[str, Field(description="A built-in recipe, or the path of a .toml file")] = "post",
    epochs: Annotated[int | None, Field(description="Passes over the training images, instead of the recipe's")] = None,
    seed: Annotated[int | None, Field(description="Seed of the trainings, instead of the recipe's")] = None,
    validation: Annotated[float | None, Field(description="Share of the training images to hold out, to 0.5")] = None,
    gate: Annotated[
        bool, Field(description="Whether a failed gate fails the run, once its report is published")
    ] = True,
    root: Annotated[str | None, Field(description="Folder of all files; by default MNIST_ROOT, else data/")] = None,
    mirrors: Annotated[Sequence[str], Field(description="Mirrors to try before the data set's own")] = (),
) -> RunResult:
    """Download, decode, train, evaluate, explain, analyse, compare, report."""
    began = datetime.now(UTC)
    one_line_errors()
    source, plan = load_dataset(dataset, mirrors), load_recipe(recipe, epochs=epochs, seed=seed, validation=validation)
    work = Workspace(root=checked_root(Path(root or default_root())), run=current_run())

    archives = {archive.name: download.submit(archive, source.mirrors, work) for archive in source.archives()}
    # Prefect's types know no futures as arguments.
    splits = {
        name: decode.submit(source, name, archives[split.images.name], archives[split.labels.name], work)  # type: ignore[call-overload]
        for name, split in ((TRAIN, source.train), (TEST, source.test))
    }
    data = profile.submit(splits[TRAIN], splits[TEST], work)
    finished([*archives.values(), *splits.values(), data])
    with worker_processes(len(plan.models)) as workers:
        models = [workers.submit(train, training, splits[TRAIN], work) for training in plan.trainings()]
        predictions = [workers.submit(evaluate, model, splits[TEST], work) for model in models]
        trained = [workers.submit(evaluate, model, splits[TRAIN], work) for model in models]
        selection = select.submit(predictions, work)  # type: ignore[arg-type]
        explanations = [
            workers.submit(explain, model, found, selection, splits[TRAIN], splits[TEST], work)
            for model, found in zip(models, predictions, strict=True)
        ]
        finished(explanations)
    analysis = analyse.submit(  # type: ignore[call-overload]
        source, plan, data, splits[TRAIN], splits[TEST], models, trained, predictions, selection, explanations, work
    )
    learned: list[PrefectFuture[Any]] = [*models, *predictions, *trained, selection, *explanations]
    records = finished([*archives.values(), *splits.values(), data, *learned, analysis])

    this = run_record(records, source, plan, work, began)
    last = last_run(work.root, source.name)
    changes = compare(last, this, work) if last else None
    decision = judge(this, work)
    published = report(records[-1], changes, decision, provenance_of(records, work, began), work)
    remember(this, work)
    promote(this, decision, work)
    result = run_result(records, this, records[-1], published, decision, work)
    return passed(result) if gate else result


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


def current_run() -> str:
    """The name of the run that is under way."""
    context = FlowRunContext.get()
    return context.flow_run.name if context and context.flow_run else run_name()


if __name__ == "__main__":
    from flows.cli import main

    main(["run", *sys.argv[1:]])
