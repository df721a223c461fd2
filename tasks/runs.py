"""Runs: what a finished run leaves behind, so that later ones can be compared with it.

In: the records of a run. Out: a RunRecord, kept sealed as `runs/<run>/run.json`, and found again by the run's name.
Refuses: a name that is unknown or fits more than one run.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeVar

from tasks.errors import RunError, SealError
from tasks.folders import RUN_NAME, Folder
from tasks.recipe import Recipe
from tasks.records import Frozen, Link, ModelRecord, PredictionsRecord, SplitRecord
from tasks.sealed import may_be_sealed, read_sealed, write_sealed
from tasks.seeds import Trial
from tasks.store import Root, matching
from tasks.workspace import Workspace

LAST = "last"
MAIN = "main"  # the line of champions that a run competes in if nothing else is said


class Finished(Frozen):
    """What a finished run and a finished study have in common; `chain` holds every file of it, in the order of the data."""

    run: str
    began: datetime
    dataset: str
    train: SplitRecord
    test: SplitRecord
    libraries: dict[str, str]
    code: str
    chain: tuple[Link, ...] = ()


class StudyRun(Finished):
    """All that a later look at a study needs."""

    trials: tuple[Trial, ...]
    verdict: str

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of its arms."""
        return tuple(dict.fromkeys(trial.arm for trial in self.trials))


class RunRecord(Finished):
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


RECORD_NAMES: dict[type[Finished], str] = {RunRecord: "run.json", StudyRun: "study.json"}

Kind = TypeVar("Kind", bound=Finished)


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


def remember(run: Finished, work: Workspace) -> None:
    """Keep the record of a run or a study; from then on it counts as finished.

    Raises:
        StorageError: the file can't be written.
    """
    write_sealed(work.root / Folder.RUNS / run.run / RECORD_NAMES[type(run)], run)


def record_path(root: Root, run: str) -> Root:
    """Where the record of a run is kept, or of a study where it is one."""
    study = root / Folder.RUNS / run / RECORD_NAMES[StudyRun]
    return study if study.exists() else study.with_name(RECORD_NAMES[RunRecord])


def read_run(path: Root) -> Finished | SealError:
    """The record in a file, or why it can't be read: `mnist verify` says so, whoever else looks back passes it over."""
    kind = StudyRun if path.name == RECORD_NAMES[StudyRun] else RunRecord
    try:
        return read_sealed(path, kind)
    except SealError as error:
        return error


def may_be_run(path: Root) -> bool:
    """Whether a file in a folder of its own may be the record of a run: other programs keep theirs in runs/, too."""
    return bool(RUN_NAME.fullmatch(path.parent.name)) or may_be_sealed(path)


def read_runs(root: Root, kind: type[Kind]) -> tuple[list[Kind], list[SealError]]:
    """Every finished run or study under the root, the earliest first; and what is wrong with the records that can't be read."""
    paths = [path for path in matching(root, f"{Folder.RUNS}/*/{RECORD_NAMES[kind]}") if may_be_run(path)]
    found = [(path.parent.name, read_run(path)) for path in paths]
    # What lies in a folder of another name is somebody's copy.
    found = [(name, run) for name, run in found if isinstance(run, SealError) or run.run == name]
    runs = sorted((run for _, run in found if isinstance(run, kind)), key=lambda run: run.began)
    return runs, [error for _, error in found if isinstance(error, SealError)]


def finished_runs(root: Root) -> list[RunRecord]:
    """Every finished run under the root whose record can be read, the earliest first."""
    runs, _ = read_runs(root, RunRecord)
    return runs


def last_run(root: Root, dataset: str) -> RunRecord | None:
    """The last finished run of a data set."""
    return next((run for run in reversed(finished_runs(root)) if run.dataset == dataset), None)


def find_run(root: Root, name: str) -> RunRecord:
    """A finished run by its name, by the beginning or the end of it, or as `last`.

    Raises:
        RunError: no run fits, or several do.
    """
    runs = {run.run: run for run in finished_runs(root)}
    return runs[chosen(list(runs), name, root)]


def find_record(root: Root, name: str) -> Root:
    """The record of a run or a study, by its name as in `find_run`, though it may be altered.

    Raises:
        RunError: no run fits, or several do.
    """
    patterns = [f"{Folder.RUNS}/*/{kind}" for kind in RECORD_NAMES.values()]
    paths = {path.parent.name: path for one in patterns for path in matching(root, one) if may_be_run(path)}
    return paths[chosen(sorted(paths), name, root)]


def chosen(names: Sequence[str], name: str, root: Root) -> str:
    """The one of `names`, the latest last, that is meant.

    Raises:
        RunError: none is, or several are.
    """
    if name == LAST and names:
        return names[-1]
    fitting = [one for one in names if one == name] or [
        one for one in names if name and (one.startswith(name) or one.endswith(f"-{name}"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} fits {len(fitting)} runs: {named(fitting)}; give more of the name")
    raise RunError(
        f"no finished run {name!r} under {root}: " + (f"there are {named(names)}" if names else "there is none")
    )


def named(names: Sequence[str]) -> str:
    """The last few names."""
    return ("..., " if len(names) > 5 else "") + ", ".join(names[-5:])
