"""Runs: what a finished run leaves behind, so that later ones can be compared with it.

In: the records of a run. Out: a RunRecord, kept as `runs/<run>/run.json`, and found again by the run's name.
Refuses: a name that is unknown or fits more than one run.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tasks.errors import RunError
from tasks.files import write_text
from tasks.recipe import Recipe
from tasks.records import FileRecord, Frozen, ModelRecord, PredictionsRecord, SplitRecord
from tasks.workspace import Workspace

LAST = "last"
MAIN = "main"  # the line of champions that a run competes in if nothing else is said


class RunRecord(Frozen):
    """All that a comparison needs of a run. `predictions` are for the test split; `line` names the champions of its kind."""

    run: str
    began: datetime
    dataset: str
    recipe: Recipe
    train: SplitRecord
    test: SplitRecord
    models: tuple[ModelRecord, ...]
    predictions: tuple[PredictionsRecord, ...]
    libraries: dict[str, str]
    code: str
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


class Champion(Frozen):
    """One entry of the history: which model of which run it was, since when, and the entry that a rollback goes back to."""

    number: int
    at: datetime
    action: Literal["promoted", "rolled back"]
    dataset: str
    run: str
    model: ModelRecord
    predictions: PredictionsRecord
    below: int | None

    @property
    def title(self) -> str:
        """Its model and its run."""
        return f"{self.model.name} of {self.run}"


def remember(run: RunRecord, work: Workspace) -> FileRecord:
    """Keep a run's record; from then on the run counts as finished.

    Raises:
        StorageError: the file can't be written.
    """
    return write_text(work.root, f"runs/{run.run}/run.json", run.model_dump_json(indent=1))


def read_run(path: Path) -> RunRecord | None:
    """The record in a file; None if there is none that this version can read."""
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def finished_runs(root: Path) -> list[RunRecord]:
    """Every finished run under the root, the earliest first."""
    found = (read_run(path) for path in root.glob("runs/*/run.json"))
    return sorted((run for run in found if run), key=lambda run: run.began)


def last_run(root: Path, dataset: str) -> RunRecord | None:
    """The last finished run of a data set."""
    return next((run for run in reversed(finished_runs(root)) if run.dataset == dataset), None)


def find_run(root: Path, name: str) -> RunRecord:
    """A finished run by its name, by the beginning or the end of it, or as `last`.

    Raises:
        RunError: no run fits, or several do.
    """
    runs = finished_runs(root)
    if name == LAST and runs:
        return runs[-1]
    fitting = [run for run in runs if run.run == name] or [
        run for run in runs if name and (run.run.startswith(name) or run.run.endswith(f"-{name}"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} fits {len(fitting)} runs: {named(fitting)}; give more of the name")
    raise RunError(
        f"no finished run {name!r} under {root}: " + (f"there are {named(runs)}" if runs else "there is none")
    )


def named(runs: Sequence[RunRecord]) -> str:
    """The names of the last few runs."""
    names = [run.run for run in runs[-5:]]
    return ("..., " if len(runs) > len(names) else "") + ", ".join(names)
