"""Define the records of finished runs and studies, and of champions."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, model_serializer

from tasks.base import Frozen
from tasks.config.recipe import Recipe
from tasks.errors import RunError
from tasks.schemas.names import LOCAL_UI, MAIN
from tasks.schemas.records import (
    AttributionRecord,
    ManifestEntry,
    ModelRecord,
    Omission,
    Origin,
    PredictionsRecord,
    SplitRecord,
)
from tasks.schemas.root_paths import PathPart
from tasks.schemas.study import SeedRun


class FlowRun(Frozen):
    """A flow run in Prefect's history.

    `flow` is the id of the flow. Prefect creates it once in each database, so it identifies the history independently
    of the server's address. `at` is that address, or the database if the server ended with the run. `root` is the root
    where the record was made; a copy of the root keeps the original value. `ui` is the address of the server's UI. `ui`
    and `tags` are empty in records of earlier versions.
    """

    id: UUID
    flow: UUID
    at: str  # without secrets
    root: str
    ui: str = ""
    tags: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty_fields(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write the fields of earlier versions only, because the names of files contain hashes of these documents."""
        return {name: value for name, value in serialize(self).items() if value or name not in {"ui", "tags"}}

    @property
    def needs_serve(self) -> bool:
        """Whether only `mnist serve` shows the run, because its own server ended with the run."""
        return not self.at.startswith(("http://", "https://"))

    @property
    def url(self) -> str:
        """The address of the flow run in Prefect's UI."""
        server = LOCAL_UI if self.needs_serve else self.ui or self.at.removesuffix("/api")
        return f"{server.rstrip('/')}/runs/flow-run/{self.id}"


COMPARISON = "comparison with run"  # prefix of the names of this optional part


class CompletedRun(Frozen):
    """The common part of the records of a finished run and a finished study.

    `manifest` lists every file, in the order of the data. `number` counts finished runs and studies under the root from
    1 and, unlike a clock, never jumps; records of earlier versions have 0. `omitted` lists the optional parts that were
    left out. `uncached` holds the times of the steps that always run, except those after the record is saved.
    `flow_run` is None and `uncached` is empty in records of earlier versions.
    """

    run: PathPart
    began: datetime
    dataset: PathPart
    train: SplitRecord
    test: SplitRecord
    libraries: dict[str, str]
    code: str
    manifest: tuple[ManifestEntry, ...] = Field(default=(), validation_alias=AliasChoices("manifest", "chain"))
    number: int = 0
    omitted: tuple[Omission, ...] = ()
    flow_run: FlowRun | None = None
    uncached: tuple[Origin, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the flow run."""
        return self.flow_run.tags if self.flow_run else ()

    @property
    def url(self) -> str | None:
        """The address of the flow run in Prefect's UI; None in records of earlier versions."""
        return self.flow_run.url if self.flow_run else None


class StudyRun(CompletedRun):
    """The record of a finished study."""

    trials: tuple[SeedRun, ...]
    verdict: str

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the study's arms."""
        return tuple(dict.fromkeys(trial.arm for trial in self.trials))


class RunRecord(CompletedRun):
    """The record of a finished run.

    `predictions` are for the test split. `attributions` hold what `mnist predict` needs to find doubtful predictions, and
    are empty in records of earlier versions. `line` names the line of champions that the run competes in.
    """

    recipe: Recipe
    models: tuple[ModelRecord, ...]
    predictions: tuple[PredictionsRecord, ...]
    attributions: tuple[AttributionRecord, ...] = ()
    line: PathPart = MAIN

    @property
    def best(self) -> PredictionsRecord:
        """The predictions of the model with the fewest errors; the first in case of a tie."""
        return min(self.predictions, key=lambda one: one.errors)

    def has_one_seed(self, model: str) -> bool:
        """Return whether a model was trained with a single seed, unlike an ensemble of several seeds."""
        return all(len(set(one.seeds)) < 2 for one in self.models if one.name == model)

    def of(self, model: str) -> PredictionsRecord:
        """Return the predictions of one model.

        Raises:
            RunError: If the run has no such model.
        """
        for one in self.predictions:
            if one.model == model:
                return one
        raise RunError(
            f"run {self.run} has no model {model!r}; its models are {', '.join(m.name for m in self.models)}"
        )


Kind = TypeVar("Kind", bound=CompletedRun)


class Champion(Frozen):
    """One entry in the history of champions: the model, its run, and the time of the entry.

    `rollback_to` is the number of the entry that a rollback returns to. After an entry `rolled back`, the previous
    champion can't be promoted again until an entry `lifted`, which repeats the current champion.
    """

    number: int
    at: datetime
    action: Literal["promoted", "rolled back", "lifted"]
    dataset: PathPart
    run: PathPart
    model: ModelRecord
    predictions: PredictionsRecord
    rollback_to: int | None = Field(validation_alias=AliasChoices("rollback_to", "below"))

    @property
    def title(self) -> str:
        """The names of the model and of its run."""
        return f"{self.model.name} of {self.run}"


def rolled_back_models(champions: Sequence[Champion]) -> list[Champion]:
    """Return the champions of a line that a rollback keeps from promotion, with the latest entry for each model."""
    down: dict[str, Champion] = {}  # by SHA-256 of the model file
    for before, entry in pairwise(champions):
        if entry.action == "lifted":
            down.clear()
        elif entry.action == "rolled back":
            down[before.model.file.sha256] = before
        down.pop(entry.model.file.sha256, None)
    return list(down.values())


def champion_line(run: RunRecord) -> str:
    """Return the name of the folder with a run's champions.

    Runs of another dataset name, runs on other test images, labels or classes, and runs of another named line have other
    champions.
    `tasks.history.comparable_runs` finds the folder if an earlier version named it.
    """
    return _line_name(run, run.test.content_sha256)


def earlier_champion_line(run: RunRecord) -> str:
    """Return the name that earlier versions gave to the folder with a run's champions."""
    content = f"{run.test.pixels_sha256} {run.test.archives[1]}"
    return _line_name(run, hashlib.sha256(content.encode()).hexdigest())


def _line_name(run: RunRecord, content_sha256: str) -> str:
    """Return the name of a line, given the hash of the test images' content."""
    images = f"{run.dataset}-{content_sha256[:12]}"
    return images if run.line == MAIN else f"{images}-{run.line}"
