"""The flow: from the archives to the report.

Every line calls a task; what travels between them are records, and the data stays in files under the root.
"""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

from prefect import flow
from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.names import generate_slug
from pydantic import Field

from flows.logs import one_line_errors
from flows.workers import finished, worker_processes
from tasks.analyse import analyse
from tasks.dataset import load_dataset
from tasks.decode import decode
from tasks.download import download
from tasks.evaluate import evaluate
from tasks.files import checked_root
from tasks.profile import profile
from tasks.provenance import provenance_of, run_result
from tasks.recipe import load_recipe
from tasks.records import RunResult
from tasks.report import report
from tasks.train import train
from tasks.workspace import Workspace


def run_name() -> str:
    """A name for a run that sorts by time and can be remembered: of its folder, and in Prefect's UI."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{generate_slug(2)}"


def default_root() -> str:
    """Where runs keep their files if nothing else is said."""
    return os.environ.get("MNIST_ROOT") or "data"


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
    root: Annotated[str | None, Field(description="Folder of all files; by default MNIST_ROOT, else data/")] = None,
    mirrors: Annotated[Sequence[str], Field(description="Mirrors to try before the data set's own")] = (),
) -> RunResult:
    """Download, decode, train, evaluate, analyse, report."""
    began = datetime.now(UTC)
    one_line_errors()
    source, plan = load_dataset(dataset, mirrors), load_recipe(recipe, epochs=epochs, seed=seed, validation=validation)
    work = Workspace(root=checked_root(Path(root or default_root())), run=current_run())

    archives = {archive.name: download.submit(archive, source.mirrors, work) for archive in source.archives()}
    # Prefect's types know no futures as arguments.
    splits = {
        name: decode.submit(source, name, archives[split.images.name], archives[split.labels.name], work)  # type: ignore[call-overload]
        for name, split in (("train", source.train), ("test", source.test))
    }
    data = profile.submit(splits["train"], splits["test"], work)
    finished([*archives.values(), *splits.values(), data])
    with worker_processes(len(plan.models)) as workers:
        models = [workers.submit(train, training, splits["train"], work) for training in plan.trainings()]
        predictions = [workers.submit(evaluate, model, splits["test"], work) for model in models]
        finished([*models, *predictions])
    analysis = analyse.submit(source, plan, data, splits["test"], models, predictions, work)  # type: ignore[call-overload]
    records = finished([*archives.values(), *splits.values(), data, *models, *predictions, analysis])
    published = report(analysis, provenance_of(records, work, began), work)
    return run_result(records, published, source.name, work, began)


def current_run() -> str:
    """The name of the run that is under way."""
    context = FlowRunContext.get()
    return context.flow_run.name if context and context.flow_run else run_name()


if __name__ == "__main__":
    from flows.cli import main

    main(["run", *sys.argv[1:]])
