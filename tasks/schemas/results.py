"""Define the results of runs, studies and commands, as the terminal shows them and `--json` prints them.

Paths are relative to the root.
"""

from pydantic import Field, computed_field

from tasks.base import Frozen
from tasks.schemas.analysis import Decision, StepLine
from tasks.schemas.doubt import DoubtLimits, Judgment
from tasks.schemas.findings import Comparison
from tasks.schemas.records import FileRecord, Omission
from tasks.schemas.runs import FlowRun
from tasks.schemas.study import ModelPair, StudyModel

MOST_SHOWN = 1000  # pictures of a user that a page shows, which then takes up to 10 MB


class ModelResult(Frozen):
    """The result of one model of a run."""

    accuracy: float
    errors: int
    loss: float
    parameters: int
    epochs: int
    fit_seconds: float
    model: str
    model_sha256: str
    predictions: str


class FlowResult(Frozen):
    """The common part of the results of runs and studies.

    `verdict` is the headline of the report, `steps` tells which records were found in the cache, and why the others
    were computed, and `omitted` lists the optional parts that were left out. `url` is the address of the flow run in
    Prefect's UI, and `needs_serve` tells whether only `mnist serve` shows it.
    """

    run: str
    url: str | None = None
    needs_serve: bool = False
    tags: tuple[str, ...] = ()
    root: str
    seconds: float
    dataset: str
    verdict: str
    report: dict[str, str]
    steps: tuple[StepLine, ...]
    omitted: tuple[Omission, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic documents
    @property
    def cached(self) -> tuple[str, ...]:
        """The names of the steps whose records were found in the cache."""
        return tuple(step.name for step in self.steps if step.cached)


class RunResult(FlowResult):
    """The result of a run.

    `promoted` tells whether this run made its best model the champion, and `compared_with` names the earlier run that this
    run was compared with.
    """

    models: dict[str, ModelResult]
    comparisons: tuple[Comparison, ...]
    decision: Decision
    promoted: bool
    compared_with: str | None = None


class StudyResult(FlowResult):
    """The result of a study."""

    seeds: tuple[int, ...]
    arms: tuple[StudyModel, ...]
    pairs: tuple[ModelPair, ...]


class VerifiedFile(Frozen):
    """One verified file, with the step that made it and its path under the root.

    `fault` describes what is wrong with the file, and is None if the file is valid.
    """

    role: str
    path: str
    fault: str | None = None


class Pruning(Frozen):
    """The runs and files that pruning removes, and their total size in `bytes`.

    `runs` holds names of runs, and `files` holds paths of other files under the root. `paths` holds every path to
    remove: first the files, then the folders that are empty without them. `planned` holds the files that a record names,
    in the order of their removal. `history` holds the flow runs of the removed runs, including those of earlier
    prunings that are still pending.
    """

    kept: tuple[str, ...]
    runs: tuple[str, ...]
    files: tuple[str, ...]
    bytes: int
    paths: tuple[str, ...] = ()
    planned: tuple[FileRecord, ...] = Field(default=(), exclude=True)
    history: frozenset[FlowRun] = Field(default=frozenset(), exclude=True)


class Cleared(Frozen):
    """The outcome of clearing Prefect's history.

    `flow_runs` counts the removed flow runs, and `left` counts those that a later prune must remove, for the reason in
    `why`.
    """

    flow_runs: int
    left: int = 0
    why: str = ""


class ClassPrediction(Frozen):
    """One model's prediction for a picture, with the probabilities of all labels by name.

    `judgment` is None if the run holds no limits for the model.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    judgment: Judgment | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """The reasons why the prediction is doubtful."""
        return self.judgment.doubts if self.judgment else ()


class LeftOut(Frozen):
    """The parts of a picture that its preparation left out: a `share` of the ink, in a number of `pieces`.

    In color, the parts are the margins, and the share is that of the picture. `mask` is a PNG file in base64, with the
    parts in white, or empty if there are none.
    """

    share: float
    pieces: int
    mask: str = Field(default="", exclude=True)


class ClassifiedPicture(Frozen):
    """A user's picture, and the prediction of each model for it.

    `pixels` holds the image that the models received, in base64, and `original` the picture as a small JPEG file in
    base64, which is empty after the first `MOST_SHOWN` pictures. `doubts` holds reasons why the picture may not show
    exactly one character, such as further frames that were not read.
    """

    path: str
    pixels: str = Field(exclude=True)
    original: str = Field(default="", exclude=True)
    left_out: LeftOut = LeftOut(share=0.0, pieces=0)
    guesses: dict[str, ClassPrediction]
    doubts: tuple[str, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic documents
    @property
    def doubtful(self) -> bool:
        """Whether the picture, or the prediction of any model for it, is doubtful."""
        return bool(self.doubts) or any(guess.doubts for guess in self.guesses.values())


class UnreadablePicture(Frozen):
    """A picture that could not be read, and the reason."""

    path: str
    why: str


class PredictResult(Frozen):
    """The result of `mnist predict`: the classified pictures, the files that were skipped, and the limits of doubt.

    `skipped` counts the files that are hidden or not named like a picture. `limits` holds the limits of each model
    whose predictions were judged, and `not_judged` the reason for each other model.
    """

    run: str
    pictures: tuple[ClassifiedPicture, ...]
    unreadable: tuple[UnreadablePicture, ...] = ()
    skipped: int = 0
    limits: dict[str, DoubtLimits] = Field(default_factory=dict)
    not_judged: dict[str, str] = Field(default_factory=dict)
    page: str | None = None
