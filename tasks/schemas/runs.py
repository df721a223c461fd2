"""What a finished run or study leaves in its record, and the champions."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import AliasChoices, Field

from tasks.base import Frozen
from tasks.config.recipe import Recipe
from tasks.errors import RunError
from tasks.schemas.records import ManifestEntry, ModelRecord, Omission, PredictionsRecord, SplitRecord
from tasks.schemas.study import SeedRun


class FlowRun(Frozen):
    """A run as Prefect's history has it.

    `flow` is the flow's id, which Prefect makes once in each database: it tells one history from another, whatever address its
    server has. `at` is that address, or the database of a server that lived no longer than the run. `root` is where the record
    was made: a copy of the root has it, too.
    """

    id: UUID
    flow: UUID
    at: str  # without secrets
    root: str


COMPARISON = "comparison with run"  # how the name of that optional part of a run begins
MAIN = "main"  # the line of champions that a run competes in if nothing else is said


class CompletedRun(Frozen):
    """What a finished run and a finished study have in common; `manifest` names every file of it, in the order of the data.

    `number` counts what was finished under the root, from 1: unlike a clock, it can't jump. Records of earlier versions have 0.
    `omitted` are the optional parts that were left out. `flow_run` is what Prefect's history calls it; records of earlier
    versions have none.
    """

    run: str
    began: datetime
    dataset: str
    train: SplitRecord
    test: SplitRecord
    libraries: dict[str, str]
    code: str
    # Earlier versions called it a chain.
    manifest: tuple[ManifestEntry, ...] = Field(default=(), validation_alias=AliasChoices("manifest", "chain"))
    number: int = 0
    omitted: tuple[Omission, ...] = ()
    flow_run: FlowRun | None = None


class StudyRun(CompletedRun):
    """All that a later look at a study needs."""

    trials: tuple[SeedRun, ...]
    verdict: str

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of its arms."""
        return tuple(dict.fromkeys(trial.arm for trial in self.trials))


class RunRecord(CompletedRun):
    """All that a later look at a run needs. `predictions` are for the test split; `line` names the champions of its kind."""

    recipe: Recipe
    models: tuple[ModelRecord, ...]
    predictions: tuple[PredictionsRecord, ...]
    line: str = MAIN

    @property
    def best(self) -> PredictionsRecord:
        """The predictions of the model with the fewest errors; of equal ones, the first."""
        return min(self.predictions, key=lambda one: one.errors)

    def of(self, model: str) -> PredictionsRecord:
        """The predictions of one model.

        Raises:
            RunError: the run has no such model.
        """
        for one in self.predictions:
            if one.model == model:
                return one
        raise RunError(f"run {self.run} has no model {model!r}, only {', '.join(m.name for m in self.models)}")


Kind = TypeVar("Kind", bound=CompletedRun)


class Champion(Frozen):
    """One entry of the history: which model of which run it was, since when, and the entry that a rollback goes back to.

    After `rolled back`, the champion before that entry stays down, until an entry that was `lifted`, which names the same
    champion again, ends that.
    """

    number: int
    at: datetime
    action: Literal["promoted", "rolled back", "lifted"]
    dataset: str
    run: str
    model: ModelRecord
    predictions: PredictionsRecord
    below: int | None

    @property
    def title(self) -> str:
        """Its model and its run."""
        return f"{self.model.name} of {self.run}"


def held_down(champions: Sequence[Champion]) -> list[Champion]:
    """The champions of a line that stay down after a rollback, the latest entry of each."""
    down: dict[str, Champion] = {}  # by the hash of the model
    for before, entry in pairwise(champions):
        if entry.action == "lifted":
            down.clear()
        elif entry.action == "rolled back":
            down[before.model.file.sha256] = before
        down.pop(entry.model.file.sha256, None)
    return list(down.values())


def champion_line(run: RunRecord) -> str:
    """The folder of a run's champions: other test images or labels, and other named lines, have champions of their own."""
    content = f"{run.test.pixels_sha256} {run.test.archives[1]}"
    images = f"{run.dataset}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return images if run.line == MAIN else f"{images}-{run.line}"
