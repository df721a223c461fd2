"""Stages that both flows share: prepare the data and train the models."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from flows.runners.base import Workers, submit, wait_for_all
from tasks.base import TEST, TRAIN
from tasks.config.dataset import Dataset
from tasks.config.recipe import ModelSpec
from tasks.engine.task_progress import ProgressBar
from tasks.engine.workspace import Workspace
from tasks.schemas.evidence import PreparedData, TrainedModels
from tasks.schemas.records import SplitRecord
from tasks.steps.decode import decode
from tasks.steps.download import download
from tasks.steps.ensemble import combine
from tasks.steps.sample import needs_sample, sample
from tasks.steps.train import train


def prepare_data(dataset: Dataset, work: Workspace) -> PreparedData:
    """Download, verify and decode the archives concurrently, and draw a sample of each split that is too large.

    The result holds futures in place of the records, as do all values of these types until `wait_for_all` returns them.
    """
    archives = {archive.name: submit(download, archive, dataset.mirrors, work) for archive in dataset.archives()}
    splits = {
        name: submit(decode, dataset, name, archives[split.images.name], archives[split.labels.name], work)
        for name, split in ((TRAIN, dataset.train), (TEST, dataset.test))
    }
    _, decoded = wait_for_all((archives, splits))
    samples = {name: submit(sample, splits[name], work) for name, split in decoded.items() if needs_sample(split)}
    return PreparedData(archives, splits, samples)


class TrainingCount:
    """Progress of a study: how many of its trainings are finished."""

    def __init__(self, trainings: Iterable[Any]) -> None:
        self.waiting = {id(future) for future in trainings}
        self.total, self.done, self.computed = len(self.waiting), 0, 0
        self.began = time.perf_counter()
        self.bar = ProgressBar("trainings", self.line())

    def add(self, future: Any) -> None:
        """Count a finished future if it is that of a training."""
        if id(future) in self.waiting:
            self.done += 1
            self.computed += future.state.name != "Cached"  # a cached training takes no time
            self.bar.refresh(self.done / self.total, self.line())

    def line(self) -> str:
        """Return one line with the number of finished trainings, the rate, and the remaining time."""
        line = f"trainings: {self.done} of {self.total}"
        if not self.computed or self.done == self.total:
            return line
        each = (time.perf_counter() - self.began) / self.computed
        return f"{line}, {60 / each:.1f} per minute, {each * (self.total - self.done):.0f} s left"


def train_models(
    model_specs: Mapping[str, ModelSpec], split: SplitRecord, workers: Workers, work: Workspace
) -> TrainedModels:
    """Train each network that the models need once, and combine the ensembles.

    The keys of `model_specs` and of the models in the result are the titles of the models.
    """
    by_content: dict[str, Any] = {}
    trainings: dict[str, Any] = {}
    ensembles: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for title, spec in model_specs.items():
        members = []
        for training in spec.trainings:
            content = training.model_dump_json()
            if content not in by_content:
                name = f"{title}: {training.network.name}, seed {training.seed}" if spec.ensemble else title
                task = train.with_options(task_run_name=f"train {name}")
                by_content[content] = trainings[name] = workers.submit(task, training, split, work)
            members.append(by_content[content])
        models[title] = members[0]
        if spec.ensemble:
            combination = combine.with_options(task_run_name=f"combine {title}")
            models[title] = ensembles[title] = workers.submit(combination, spec.ensemble, members, work)
    return TrainedModels(models, trainings, ensembles)
