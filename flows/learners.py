"""The training stage of every flow: the models, each from its trainings; a training that several models need runs once."""

from collections.abc import Mapping
from typing import Any

from flows.workers import Workers
from tasks.config.recipe import Learner
from tasks.engine.workspace import Workspace
from tasks.schemas.evidence import TrainedModels
from tasks.schemas.records import SplitRecord
from tasks.steps.ensemble import combine
from tasks.steps.train import train


def train_models(
    learners: Mapping[str, Learner], split: SplitRecord, workers: Workers, work: Workspace
) -> TrainedModels:
    """Train all networks that the learners need, and combine the ensembles; learners and models go by their titles."""
    by_content: dict[str, Any] = {}
    trainings: dict[str, Any] = {}
    ensembles: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for title, learner in learners.items():
        members = []
        for training in learner.trainings:
            content = training.model_dump_json()
            if content not in by_content:
                name = f"{title}: {training.network.name}, seed {training.seed}" if learner.ensemble else title
                task = train.with_options(task_run_name=f"train {name}")
                by_content[content] = trainings[name] = workers.submit(task, training, split, work)
            members.append(by_content[content])
        models[title] = members[0]
        if learner.ensemble:
            combination = combine.with_options(task_run_name=f"combine {title}")
            models[title] = ensembles[title] = workers.submit(combination, learner.ensemble, members, work)
    return TrainedModels(models, trainings, ensembles)
