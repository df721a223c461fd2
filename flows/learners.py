"""Learners: the models that a flow makes, each from its trainings; what several need is trained once."""

from collections.abc import Sequence
from typing import Any

from prefect.futures import PrefectFuture

from flows.workers import Workers
from tasks.combine import combine
from tasks.recipe import Learner, Training
from tasks.train import train
from tasks.workspace import Workspace

Futures = list[PrefectFuture[Any]]


def made(trained: Futures, models: Futures) -> Futures:
    """All of both: a model that is a single network is among the trainings already."""
    return [*trained, *(model for model in models if model not in trained)]


def distinct(learners: Sequence[Learner]) -> dict[str, Training]:
    """All trainings that the learners take, by what they are; in order, each once."""
    return {training.model_dump_json(): training for learner in learners for training in learner.trainings}


def learned(
    learners: Sequence[Learner], titles: Sequence[str], split: Any, workers: Workers, work: Workspace
) -> tuple[Futures, Futures]:
    """Train all that is needed: the records of every training, and of every learner's model, in order.

    `titles` say how the learners are called in Prefect's UI.
    """
    trained: dict[str, PrefectFuture[Any]] = {}
    models: Futures = []
    for learner, title in zip(learners, titles, strict=True):
        for training in learner.trainings:
            key = training.model_dump_json()
            if key not in trained:
                name = f"{title}: {training.network.name}, seed {training.seed}" if learner.ensemble else title
                trained[key] = workers.submit(train.with_options(task_run_name=f"train {name}"), training, split, work)
        members = [trained[training.model_dump_json()] for training in learner.trainings]
        models.append(
            workers.submit(combine.with_options(task_run_name=f"combine {title}"), learner.ensemble, members, work)
            if learner.ensemble
            else members[0]
        )
    return list(trained.values()), models
