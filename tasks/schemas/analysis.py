"""The analysis document: everything that the report states, in one value that all its forms are rendered from.

Confusion matrices are (label, predicted). What the values are made of stands in `tasks.schemas.findings`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from tasks.base import Frozen
from tasks.schemas.findings import (
    Answer,
    Calibration,
    Comparison,
    CorrectionRegion,
    DisagreementGroup,
    LabelErrors,
    LabelIssues,
    Pattern,
    Picture,
    SaliencyMap,
    Share,
    Slice,
)
from tasks.schemas.post_results import Published
from tasks.schemas.records import ArchiveRecord, Epoch, FileRecord, Omission, Origin, Profile, Record, SplitRecord
from tasks.schemas.robustness import Robustness


class ModelAnalysis(Frozen):
    """One model's figures on the test split; `confident` names its wrong answers of the highest probability, by index."""

    name: str
    parameters: int
    epochs: int
    batch: int
    seed: int
    trained_on: int
    held_out: int
    threads: int
    fit_seconds: float
    accuracy: Share
    errors: int
    calibration: Calibration
    confusion: tuple[tuple[int, ...], ...]
    confident: tuple[int, ...]
    window: int
    focus: tuple[SaliencyMap, ...]
    history: tuple[Epoch, ...]
    published: tuple[Published, ...]


class Subject(Frozen):
    """What was analysed: the data set and the recipe, by their names and in words."""

    dataset: str
    title: str
    licence: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    recipe: str
    description: str
    learning_rate: float
    validation: float


class Sample(Frozen):
    """How many images of a split were drawn, at random, of how many."""

    split: str
    count: int
    drawn_from: int


class AugmentationPreview(Frozen):
    """Some training images as they are, and as augmentation may have shown them, in base64."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class Analysis(Frozen):
    """The findings, which depend on nothing but the data, the models and their predictions.

    Where there are `samples`, all but the accuracies and the profile is found from these.
    `comparisons` holds every pair of models, `groups` how the first pair disagrees. `pictures` are test images, `trained`
    training images: suspects, and neighbours of the misclassified. `misclassified` counts the test images that any model got
    wrong, which may be more than `pictures` holds. `altered` is there where there was
    augmentation, `robustness` where it was asked for.
    """

    subject: Subject
    samples: tuple[Sample, ...] = ()
    models: tuple[ModelAnalysis, ...]
    comparisons: tuple[Comparison, ...]
    labels: tuple[LabelErrors, ...]
    patterns: tuple[Pattern, ...]
    groups: tuple[DisagreementGroup, ...]
    slices: tuple[Slice, ...]
    mendings: tuple[CorrectionRegion, ...]
    suspects: tuple[LabelIssues, ...]
    misclassified: int
    pictures: tuple[Picture, ...]
    trained: tuple[Picture, ...]
    profile: Profile
    altered: AugmentationPreview | None = None
    robustness: Robustness | None = None

    @cached_property
    def by_index(self) -> Mapping[int, Picture]:
        """The pictures by their index in the test split."""
        return {picture.index: picture for picture in self.pictures}

    @cached_property
    def trained_by_index(self) -> Mapping[int, Picture]:
        """The training images by their index in the training split."""
        return {picture.index: picture for picture in self.trained}


class AnalysisRecord(Record):
    """The analysis document as JSON, the models that it compares, in order, and how they compare."""

    file: FileRecord
    models: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


class Setting(Frozen):
    """Something that differs between two runs: a setting of the recipe, or the version of a library."""

    name: str
    before: str
    now: str


class Changed(Frozen):
    """An image that one of two models got right and the other wrong."""

    index: int
    label: int
    pixels: str
    before: Answer
    now: Answer

    @property
    def number(self) -> int:
        """Its index in the whole split, as of a Picture."""
        return self.index


class ModelChanges(Frozen):
    """What two models, each of its run, do differently on the same images: `comparison` says whether it matters."""

    before: str
    now: str
    comparison: Comparison
    newly_wrong: tuple[Changed, ...]
    newly_right: tuple[Changed, ...]


class Changes(Frozen):
    """Two runs over the same test images: what differs in how they were made, and in what they answer.

    `images` counts those that both runs judged, found by their content; `only_before` and `only_now` the others.
    """

    before: str
    now: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    images: int
    only_before: int
    only_now: int
    settings: tuple[Setting, ...]
    models: tuple[ModelChanges, ...]


class Check(Frozen):
    """One condition of a gate, with what was found in words."""

    name: str
    passed: bool
    found: str


class Decision(Frozen):
    """Whether a run's best model becomes the champion, and why. `champion` is the one before, None for the first.

    `withheld` says why a model that passes every check still does not become the champion; `omitted`, what of the champion
    could not be compared.
    """

    challenger: str
    champion: str | None
    margin: float | None
    checks: tuple[Check, ...]
    withheld: str = ""
    omitted: tuple[Omission, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check is."""
        return all(check.passed for check in self.checks)

    @property
    def promotes(self) -> bool:
        """Whether the model becomes the champion."""
        return self.passed and not self.withheld


class StepLine(Frozen):
    """One step of the run: what it was, which run made its record, when, in how many seconds, and whether it was found."""

    name: str
    origin: Origin
    cached: bool


class FileLine(Frozen):
    """One file of the manifest, by its role."""

    role: str
    path: str
    sha256: str


class Provenance(Frozen):
    """Where everything came from."""

    run: str
    began: datetime
    root: str
    archives: tuple[ArchiveRecord, ...]
    splits: tuple[SplitRecord, ...]
    steps: tuple[StepLine, ...]
    files: tuple[FileLine, ...]
    libraries: dict[str, str]
    python: str
    platform: str
    cores: int


class Report(Frozen):
    """What is rendered, and what `report.json` holds; `omitted` are the optional parts that the run left out."""

    provenance: Provenance
    decision: Decision | None
    changes: Changes | None
    analysis: Analysis
    omitted: tuple[Omission, ...] = ()
