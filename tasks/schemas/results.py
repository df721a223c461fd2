"""Results: what a run leaves, and what `mnist verify` and `mnist prune` find, as they show it and `--json` prints it.

Paths are relative to the root.
"""

from pydantic import Field, computed_field

from tasks.base import Frozen
from tasks.schemas.analysis import Decision, StepLine
from tasks.schemas.findings import Comparison
from tasks.schemas.records import FileRecord, Omission
from tasks.schemas.runs import FlowRun
from tasks.schemas.study import ModelPair, StudyModel


class ModelResult(Frozen):
    """One model of a run."""

    accuracy: float
    errors: int
    loss: float
    parameters: int
    epochs: int
    fit_seconds: float
    model: str
    model_sha256: str
    predictions: str


class RunResult(Frozen):
    """A whole run: `steps` says which were found, and why the others were computed; `promoted`, whether its best model is
    the champion; `compared_with`, which earlier run it was compared with; `omitted`, which optional parts it left out.
    """

    run: str
    root: str
    seconds: float
    dataset: str
    models: dict[str, ModelResult]
    verdict: str
    comparisons: tuple[Comparison, ...]
    decision: Decision
    promoted: bool
    report: dict[str, str]
    steps: tuple[StepLine, ...]
    compared_with: str | None = None
    omitted: tuple[Omission, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's own documentation has it
    @property
    def cached(self) -> tuple[str, ...]:
        """The steps whose records were found."""
        return tuple(step.name for step in self.steps if step.cached)


class StudyResult(Frozen):
    """A whole study: what its report says first, its arms and pairs, and which steps were found."""

    run: str
    root: str
    seconds: float
    dataset: str
    seeds: tuple[int, ...]
    verdict: str
    arms: tuple[StudyModel, ...]
    pairs: tuple[ModelPair, ...]
    report: dict[str, str]
    steps: tuple[StepLine, ...]
    omitted: tuple[Omission, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's own documentation has it
    @property
    def cached(self) -> tuple[str, ...]:
        """The steps whose records were found."""
        return tuple(step.name for step in self.steps if step.cached)


class VerifiedFile(Frozen):
    """One link as it was found: the step that it came from, its path under the root, and what is wrong with it, if anything."""

    role: str
    path: str
    fault: str | None = None


class Pruning(Frozen):
    """What goes: the names of runs, and the paths of other files under the root; with `bytes` in all.

    `paths` is every single path that goes, files first, then the folders that are empty without them. `doomed` are the files
    that a record names, in the order of their removal; `history`, the flow runs of what goes, and of what went before.
    """

    kept: tuple[str, ...]
    runs: tuple[str, ...]
    files: tuple[str, ...]
    bytes: int
    paths: tuple[str, ...] = ()
    doomed: tuple[FileRecord, ...] = Field(default=(), exclude=True)
    history: frozenset[FlowRun] = Field(default=frozenset(), exclude=True)


class Cleared(Frozen):
    """What went from Prefect's history: how many flow runs; how many are left there for a later prune, and why."""

    flow_runs: int
    left: int = 0
    why: str = ""


class ClassPrediction(Frozen):
    """What one model says of a picture: its label, and the probabilities of all labels by name."""

    label: str
    probability: float
    probabilities: dict[str, float]


class ClassifiedPicture(Frozen):
    """A person's own picture: what the network was shown, in base64, what each model says of it, and why the answers may be
    about something else than one character.
    """

    path: str
    pixels: str
    guesses: dict[str, ClassPrediction]
    doubts: tuple[str, ...] = ()


class UnreadablePicture(Frozen):
    """A picture that could not be read, and why."""

    path: str
    why: str
