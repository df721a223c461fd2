"""Define the analysis document, a single value that holds everything that the report states.

All forms of the report are rendered from this value. Confusion matrices have labels as rows and predictions as columns.
`tasks.schemas.findings` defines the values that the document is made of.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from pydantic import AliasChoices, Field

from tasks.base import Frozen
from tasks.schema_version import SCHEMA_VERSION
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
    """Figures of one model on the test split.

    `trained_on` and `held_out` count training images, and `threads` is the number of TensorFlow threads, 0 for one per
    core. `seeds` holds those of an ensemble's members. `confident_errors` holds the indices of the misclassified images
    with the highest confidence. `window` is the edge in pixels of the window that is erased for the occlusion maps.
    """

    name: str
    parameters: int
    epochs: int
    batch: int
    seed: int
    seeds: tuple[int, ...] = ()
    trained_on: int
    held_out: int
    threads: int
    fit_seconds: float
    accuracy: Share
    errors: int
    calibration: Calibration
    confusion: tuple[tuple[int, ...], ...]
    confident_errors: tuple[int, ...] = Field(validation_alias=AliasChoices("confident_errors", "confident"))
    window: int
    saliency_maps: tuple[SaliencyMap, ...] = Field(validation_alias=AliasChoices("saliency_maps", "focus"))
    history: tuple[Epoch, ...]
    published: tuple[Published, ...]


class Subject(Frozen):
    """The analyzed dataset and recipe, with their names and descriptions."""

    dataset: str
    title: str
    license: str = Field(validation_alias=AliasChoices("license", "licence"))
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    recipe: str
    description: str
    learning_rate: float
    validation: float


class Sample(Frozen):
    """The number of images of a split that were drawn at random, and the number that they were drawn from."""

    split: str
    count: int
    drawn_from: int


class AugmentationPreview(Frozen):
    """The first training images, and a random augmentation of each, as pixels in base64."""

    before: tuple[str, ...]
    after: tuple[str, ...]


class Analysis(Frozen):
    """The findings, which depend only on the data, the models and the models' predictions.

    If there are `samples`, everything except the accuracies and the profile is computed from them. `comparisons` holds
    one entry for each pair of models, and `groups` shows how the first two models disagree. `pictures` holds test
    images. `training_pictures` holds training images: label issues, and neighbors of misclassified test images.
    `misclassified` counts the test images that at least one model misclassified, which can be more images than
    `pictures` holds. `augmentation_preview` is None without augmentation, and `robustness` is None unless it was
    requested.
    """

    schema_version: int = SCHEMA_VERSION
    subject: Subject
    samples: tuple[Sample, ...] = ()
    models: tuple[ModelAnalysis, ...]
    comparisons: tuple[Comparison, ...]
    labels: tuple[LabelErrors, ...]
    patterns: tuple[Pattern, ...]
    groups: tuple[DisagreementGroup, ...]
    slices: tuple[Slice, ...]
    correction_regions: tuple[CorrectionRegion, ...] = Field(
        validation_alias=AliasChoices("correction_regions", "mendings")
    )
    label_issues: tuple[LabelIssues, ...] = Field(validation_alias=AliasChoices("label_issues", "suspects"))
    misclassified: int
    pictures: tuple[Picture, ...]
    training_pictures: tuple[Picture, ...] = Field(validation_alias=AliasChoices("training_pictures", "trained"))
    profile: Profile
    augmentation_preview: AugmentationPreview | None = Field(
        default=None, validation_alias=AliasChoices("augmentation_preview", "altered")
    )
    robustness: Robustness | None = None

    @cached_property
    def by_index(self) -> Mapping[int, Picture]:
        """The test images by their index in the test split."""
        return {picture.index: picture for picture in self.pictures}

    @cached_property
    def training_by_index(self) -> Mapping[int, Picture]:
        """The training images by their index in the training split."""
        return {picture.index: picture for picture in self.training_pictures}


class AnalysisRecord(Record):
    """The file with the analysis document as JSON, the names of the models in order, and their comparisons."""

    file: FileRecord
    models: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


class Setting(Frozen):
    """A setting of the recipe or a library version that differs between two runs."""

    name: str
    before: str
    now: str


class Changed(Frozen):
    """An image that exactly one of two models classified correctly."""

    index: int
    label: int
    pixels: str
    before: Answer
    now: Answer

    @property
    def number(self) -> int:
        """The index of the image in the full split, as in a `Picture`."""
        return self.index


class ModelChanges(Frozen):
    """The images that two models classify differently; the first is `before`, and the second is `now`.

    `comparison` tells whether the difference is significant, and `one_seed` whether each model was trained with one seed.
    """

    before: str
    now: str
    comparison: Comparison
    one_seed: bool = True
    newly_wrong: tuple[Changed, ...]
    newly_right: tuple[Changed, ...]


class Changes(Frozen):
    """Differences between two runs on the same test images: their settings, and the answers of their models.

    The first run is `before`, and the second is `now`. Both are the same run if two of its models are compared.
    `over_time` tells whether the second run repeats the first one later, so that its errors are new or fixed. `images`
    counts the images that both runs evaluated, matched by content. `only_before` and `only_now` count the others.
    """

    before: str
    now: str
    over_time: bool = True
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    images: int
    only_before: int
    only_now: int
    settings: tuple[Setting, ...]
    models: tuple[ModelChanges, ...]

    @property
    def in_one_run(self) -> bool:
        """Whether both models of each pair belong to the same run."""
        return self.before == self.now


class Check(Frozen):
    """One condition of a gate, whether it is met, and the measured values in words."""

    name: str
    passed: bool
    found: str


class Decision(Frozen):
    """The decision whether the best model of a run becomes the champion.

    `champion` names the champion at the time of the decision, or is None if there is none. `withheld` is the reason why
    a model that passes every check is still not promoted. `unchanged` tells whether the model already is the champion,
    which then stays. `omitted` lists the comparisons with the champion that could not be made.
    """

    challenger: str
    champion: str | None
    margin: float | None
    checks: tuple[Check, ...]
    withheld: str = ""
    unchanged: bool = False
    omitted: tuple[Omission, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def promotes(self) -> bool:
        """Whether the model becomes the champion."""
        return self.passed and not self.withheld and not self.unchanged


class StepLine(Frozen):
    """One step of a run: its name, the origin of its record, and whether the record was found in the cache.

    `always_runs` marks a step that is computed in every run, for the reason in its origin.
    """

    name: str
    origin: Origin
    cached: bool
    always_runs: bool = False


class FileLine(Frozen):
    """One file of the manifest, with the name of the step that made the file."""

    role: str
    path: str
    sha256: str


class Provenance(Frozen):
    """The origin of a run's results: its archives, splits, steps, files, library versions and machine.

    `url` is the address of the flow run in Prefect's UI, and `needs_serve` tells whether only `mnist serve` shows it. Both
    and `tags` are unset in reports of earlier versions.
    """

    run: str
    url: str | None = None
    needs_serve: bool = False
    tags: tuple[str, ...] = ()
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
    """The content of a report, as in `report.json`; `omitted` lists the optional parts that the run left out."""

    schema_version: int = SCHEMA_VERSION
    provenance: Provenance
    decision: Decision | None
    changes: Changes | None
    analysis: Analysis
    omitted: tuple[Omission, ...] = ()
