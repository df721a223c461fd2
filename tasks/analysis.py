"""The analysis document: everything that the report states, in one value that all its forms are rendered from.

Confusion matrices are (label, predicted). Shares carry their 95 % interval. Pictures are the raw bytes of the images,
rows x columns, in base64.
"""

from collections.abc import Mapping
from datetime import datetime

from tasks.published import Published
from tasks.records import ArchiveRecord, Epoch, Frozen, Origin, Profile, SplitRecord


class Share(Frozen):
    """`count` of `total`, with the 95 % Wilson interval of the share."""

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, between 0 and 1."""
        return self.count / self.total if self.total else 0.0


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
    loss: float
    confusion: tuple[tuple[int, ...], ...]
    confident: tuple[int, ...]
    history: tuple[Epoch, ...]
    published: tuple[Published, ...]


class LabelErrors(Frozen):
    """The errors among the images of one label, in the order of the models."""

    label: int
    errors: tuple[Share, ...]


class Pattern(Frozen):
    """How often each model took `label` for `predicted`; `shown` names the images of the gallery, by index."""

    predicted: int
    label: int
    counts: tuple[int, ...]
    shown: tuple[int, ...] = ()


class Answer(Frozen):
    """What one model says of one image, with the probability of its answer and of the label."""

    predicted: int
    probability: float
    label_probability: float


class Picture(Frozen):
    """A test image that the report shows, with every model's answer."""

    index: int
    sha256: str
    label: int
    pixels: str
    answers: tuple[Answer, ...]


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


class Analysis(Frozen):
    """The findings, which depend on nothing but the data, the models and their predictions."""

    subject: Subject
    models: tuple[ModelAnalysis, ...]
    labels: tuple[LabelErrors, ...]
    patterns: tuple[Pattern, ...]
    pictures: tuple[Picture, ...]
    profile: Profile

    @property
    def by_index(self) -> Mapping[int, Picture]:
        """The pictures by their index in the test split."""
        return {picture.index: picture for picture in self.pictures}


class StepLine(Frozen):
    """One step of the run: what it was, and which run made its record, when, and in how many seconds."""

    name: str
    origin: Origin
    cached: bool


class FileLine(Frozen):
    """One file of the chain, by its role."""

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
    """What is rendered, and what `report.json` holds."""

    provenance: Provenance
    analysis: Analysis
