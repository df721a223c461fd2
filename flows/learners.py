"""Learners: the models that a flow makes, each from its trainings; what several need is trained once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from prefect.futures import PrefectFuture

from flows.workers import Workers
from tasks.combine import combine
from tasks.recipe import Learner, Training
from tasks.train import train
from tasks.workspace import Workspace


class Learned(NamedTuple):
    """The model of each learner, in order; and all steps that it took: every training, then every combination."""

    models: list[PrefectFuture[Any]]
    steps: list[PrefectFuture[Any]]


def distinct(learners: Sequence[Learner]) -> dict[str, Training]:
    """All trainings that the learners take, by what they are; in order, each once."""
    return {training.model_dump_json(): training for learner in learners for training in learner.trainings}


def learned(
    learners: Sequence[Learner], titles: Sequence[str], split: Any, workers: Workers, work: Workspace
) -> Learned:
    """Train all that is needed, and combine it; `titles` say how the learners are called in Prefect's UI."""
    trained: dict[str, PrefectFuture[Any]] = {}
    combined: list[PrefectFuture[Any]] = []
    models: list[PrefectFuture[Any]] = []
    for learner, title in zip(learners, titles, strict=True):
        members: Any = []
        for training in learner.trainings:
            key = training.model_dump_json()
            if key not in trained:
                name = f"{title}: {training.network.name}, seed {training.seed}" if learner.ensemble else title
                trained[key] = workers.submit(train.with_options(task_run_name=f"train {name}"), training, split, work)
            members.append(trained[key])
        if learner.ensemble:
            task = combine.with_options(task_run_name=f"combine {title}")
            combined.append(workers.submit(task, learner.ensemble, members, work))
        models.append(combined[-1] if learner.ensemble else members[0])
    return Learned(models, [*trained.values(), *combined])
