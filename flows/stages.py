"""Submit the cached steps of the flows in order, to workers or to a dry run.

Therefore, the plan of a dry run has the steps and the keys of a real run.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flows.config import RunConfig
from flows.runners.base import Submitter, wait_for_all, wait_for_optional
from tasks.base import TEST, TRAIN
from tasks.config.dataset import Dataset
from tasks.config.recipe import ModelSpec
from tasks.engine.task_progress import ProgressBar
from tasks.engine.workspace import Workspace
from tasks.schemas.architecture import ArchitectureRecord
from tasks.schemas.evidence import PreparedData, RunEvidence, RunRecords, TrainedModels
from tasks.schemas.records import ModelRecord, Omission, SplitRecord
from tasks.schemas.study import SeedRun
from tasks.steps.analyze import analyze
from tasks.steps.attribute_errors import attribute
from tasks.steps.decode import decode
from tasks.steps.describe_network import describe
from tasks.steps.download import download
from tasks.steps.draw_figures import draw
from tasks.steps.ensemble import combine
from tasks.steps.evaluate import evaluate
from tasks.steps.explain_errors import explain
from tasks.steps.measure_features import measure
from tasks.steps.profile_data import profile
from tasks.steps.robustness import stress
from tasks.steps.sample import needs_sample, sample
from tasks.steps.select_examples import select
from tasks.steps.study_analysis import analyze_study
from tasks.steps.train import train


def prepare_data(dataset: Dataset, workers: Submitter, work: Workspace) -> PreparedData:
    """Download, verify and decode the archives concurrently, and draw a sample of each split that is too large.

    The result holds futures in place of the records, as do all values of these types until `wait_for_all` returns them.
    """
    here, specs = workers.submit_here, {TRAIN: dataset.train, TEST: dataset.test}
    archives = {archive.name: here(download, archive, dataset.mirrors, work) for archive in dataset.archives()}
    splits = {
        name: here(decode, dataset, name, archives[split.images.name], archives[split.labels.name], work)
        for name, split in specs.items()
    }
    wait_for_all((archives, splits))
    large = [name for name, split in specs.items() if needs_sample(split.count, dataset.image_shape)]
    samples = {name: here(sample, splits[name], work) for name in large}
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
    model_specs: Mapping[str, ModelSpec], split: SplitRecord, workers: Submitter, work: Workspace
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


def submit_run_steps(
    config: RunConfig, workers: Submitter, work: Workspace, omissions: list[Omission]
) -> tuple[RunRecords, Any]:
    """Submit all cached steps of a run, to workers or to a dry run.

    Returns:
        The records of the steps, which may still be computed, and the figures.
    """
    data = prepare_data(config.dataset, workers, work)
    model_specs = {spec.name: spec for spec in config.recipe.model_specs()}
    trained = train_models(model_specs, data.train, workers, work)
    evidence, layers = _collect_evidence(config, data, trained.models, workers, work, omissions)
    # Submit these before the workers end, which takes a second.
    analysis = workers.submit_here(analyze, config.dataset, config.recipe, evidence, work)
    drawing = workers.submit_here(draw, analysis, work)
    return RunRecords(data, trained, evidence, layers, analysis), drawing


def _collect_evidence(
    config: RunConfig,
    data: PreparedData,
    models: Mapping[str, ModelRecord],
    workers: Submitter,
    work: Workspace,
    omissions: list[Omission],
) -> tuple[RunEvidence, dict[str, ArchitectureRecord]]:
    """Evaluate and explain the models, and describe the layers of each.

    Optional parts that fail are left out and added to `omissions`.
    """
    train_sample, test_sample = data.train_sample, data.test_sample
    profiling = workers.submit_here(profile, data.train, data.test, work)
    measuring = workers.submit_here(measure, test_sample, work)
    predictions = {name: workers.submit(evaluate, model, data.test, work) for name, model in models.items()}
    attributions = {
        name: workers.submit(attribute, model, predictions[name], train_sample, test_sample, work)
        for name, model in models.items()
    }
    selection = workers.submit_here(select, predictions, test_sample, work)
    explanations = {
        name: workers.submit(explain, model, predictions[name], attributions[name], selection, test_sample, work)
        for name, model in models.items()
    }
    layers = {name: workers.submit(describe, model, work) for name, model in models.items()}
    stressed = models if config.robustness else {}
    robustness = {name: workers.submit(stress, model, test_sample, work) for name, model in stressed.items()}
    evidence = RunEvidence(
        train=train_sample,
        test=test_sample,
        profile=profiling,
        measures=measuring,
        models=models,
        predictions=predictions,
        attributions=attributions,
        selection=selection,
    )
    wait_for_all(evidence)
    evidence = replace(
        evidence,
        explanations=wait_for_optional("explanations", explanations, omissions),
        robustness=wait_for_optional("robustness", robustness, omissions),
    )
    return evidence, wait_for_optional("layers", layers, omissions)


def submit_study_steps(
    dataset: Dataset, trials: Mapping[str, SeedRun], workers: Submitter, work: Workspace
) -> tuple[PreparedData, TrainedModels, dict[str, Any], Any]:
    """Submit all cached steps, to workers or to a dry run."""
    data = prepare_data(dataset, workers, work)
    trained = train_models(trials, data.train, workers, work)
    predictions = {
        title: workers.submit(
            evaluate.with_options(task_run_name=f"evaluate {title}"), trained.models[title], data.test, work
        )
        for title in trials
    }
    analyzing = workers.submit_here(analyze_study, dataset, trials, trained.models, predictions, data.test_sample, work)
    return data, trained, predictions, analyzing
