"""Define records, the small frozen values that travel between steps while the data stays in files under the root.

A record names its files by path relative to the root, size and SHA-256, so it remains valid if the root is moved.
`origin` says which run made a record and is not part of the record's identity.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from tasks.base import Frozen
from tasks.safety.redaction import redact
from tasks.schemas.root_paths import PathPart, RootPath

Redacted = Annotated[str, AfterValidator(redact)]  # earlier versions stored addresses with their secrets


class Origin(Frozen):
    """The origin of a record: the step and the run that made it, the time, the duration in seconds, and the reason.

    `kind` is the name of the step's function, such as `train`, and `step` is the name of the task run, such as
    `train plain`. `why` says why the record was computed instead of found in the cache. `environment` holds the
    environment variables, as NAME=VALUE, that can change the step's result. `processor` is the name and the vector
    instructions of the processor that computed it, and empty for steps without arithmetic and in records of earlier
    versions.
    """

    step: str
    kind: str
    run: str
    at: datetime
    seconds: float
    why: str = ""
    environment: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("environment", "surroundings"))
    processor: str = ""

    @property
    def machine(self) -> str:
        """The processor, followed by the environment variables that can change the step's result."""
        return ", ".join(part for part in (self.processor, *self.environment) if part)

    @model_validator(mode="before")
    @classmethod
    def with_kind(cls, values: Any) -> Any:
        """Add the kind to records of earlier versions, which stored only a step name that begins with the kind."""
        return _with_kind(values, "step")


def _with_kind(values: Any, name: str) -> Any:
    """Return the values of a step's record; if `kind` is missing, set it to the first word of the value at `name`."""
    if isinstance(values, Mapping) and "kind" not in values and isinstance(values.get(name), str):
        return {**values, "kind": values[name].partition(" ")[0]}
    return values


class FileRecord(Frozen):
    """A file under the root: its path relative to the root, its size in bytes, and its SHA-256 in hex."""

    path: RootPath
    bytes: int
    sha256: str


class ManifestEntry(Frozen):
    """One file of a run, with the name (`role`) and the kind of the step that made it."""

    role: str
    kind: str
    file: FileRecord

    @model_validator(mode="before")
    @classmethod
    def with_kind(cls, values: Any) -> Any:
        """Add the kind to entries of earlier versions, which stored only a role that begins with the kind."""
        return _with_kind(values, "role")


class Omission(Frozen):
    """An optional part that a run left out, and the reason."""

    part: str
    why: str

    @property
    def line(self) -> str:
        """The omission as a line of text."""
        return f"left out: {self.part}: {self.why}"


class Record(Frozen):
    """The result of a step."""

    origin: Origin | None = None

    def files(self) -> Iterator[FileRecord]:
        """Yield every file that the record names."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, FileRecord))


class PartialRecord(Record):
    """The result of a step that can leave optional parts out.

    A record with omissions is not stored in the cache, so the next run tries again.
    """

    omitted: tuple[Omission, ...] = ()


class ArchiveRecord(Record):
    """A downloaded archive, and the mirror that served it.

    `failed_mirrors` holds one line for each mirror that failed before.
    """

    name: PathPart
    file: FileRecord
    mirror: Redacted
    failed_mirrors: tuple[Redacted, ...] = Field(
        default=(), validation_alias=AliasChoices("failed_mirrors", "passed_over")
    )


class SplitRecord(Record):
    """One split as Parquet, with images of `shape` (rows, columns[, 3]).

    `file` holds the first images, and `further` holds the rest if one file is not enough. `pixels_sha256` is the
    SHA-256 of all decoded pixels in order, and `labels_sha256` that of all labels (`tasks.data.split_content`), which is
    None in records of earlier versions. `archives` holds the SHA-256 of the archives of the images and of the labels.
    `drawn_from` is the number of images that a sample was drawn from, and None for a full split.
    """

    name: PathPart
    file: FileRecord
    further: tuple[FileRecord, ...] = ()
    count: int
    drawn_from: int | None = None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    pixels_sha256: str
    labels_sha256: str | None = None
    archives: tuple[str, str]

    @property
    def parts(self) -> tuple[FileRecord, ...]:
        """The files of the split, in order."""
        return (self.file, *self.further)

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of all that makes two splits the same: shape, class names, pixels and labels.

        A record of an earlier version has to be completed first, by `tasks.data.split_content.with_labels_digest`.
        """
        content = [self.shape, self.classes, self.pixels_sha256, self.labels_sha256]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class DuplicateSet(Frozen):
    """A set of byte-identical images, with the (split, index, label) of the first of them."""

    sha256: str
    places: tuple[tuple[str, int, int], ...]


class Profile(Record):
    """Counts by split and label, and exact duplicates within and between the splits.

    `duplicates_within` counts the surplus copies in each split, `duplicates_between` the distinct images that occur in
    both splits, and `label_conflicts` the distinct images that occur with more than one label. `examples` holds the
    first few duplicate sets.
    """

    counts: dict[str, tuple[int, ...]]
    duplicates_within: dict[str, int]
    duplicates_between: int
    label_conflicts: int
    examples: tuple[DuplicateSet, ...] = ()


class MeasuresRecord(Record):
    """The file with the features measured on each image of a split, as Parquet."""

    file: FileRecord


class Epoch(Frozen):
    """One epoch of a training history; the validation figures are None if no images were held out."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


class ModelRecord(Record):
    """A trained model as a `.keras` file.

    `trained_on` and `held_out` count images. `fit_seconds` is the wall time of the training alone. `threads` is the
    number of TensorFlow threads, 0 for one per core. An ensemble has `members`, one entry in `seeds` for each of them,
    and no history; its `fit_seconds` is the sum over its members.
    """

    name: PathPart
    file: FileRecord
    members: tuple[FileRecord, ...] = ()
    parameters: int
    trained_on: int
    held_out: int
    batch: int
    seed: int
    seeds: tuple[int, ...] = ()
    threads: int
    epochs: int = 0
    history: tuple[Epoch, ...]
    fit_seconds: float


class PredictionsRecord(Record):
    """The predictions of one model for every image of a split, as Parquet, with summary figures.

    `loss` is the mean cross-entropy in nats, and `accuracy` is a share between 0 and 1.
    """

    model: PathPart
    split: PathPart
    file: FileRecord
    count: int
    errors: int
    accuracy: float
    loss: float


class AttributionRecord(PredictionsRecord):
    """The predictions of one model for the training split, with the nearest training images of its errors.

    `neighbors` is a JSON file with the nearest training images of each misclassified test image. `limits` is a JSON file
    with the limits beyond which a prediction for a new image is doubtful, and `reference` a `.npy` file with the
    features of training images from which the distance of a new image is measured. Both are None if too few images are
    unseen, and in records of earlier versions.
    """

    neighbors: FileRecord = Field(validation_alias=AliasChoices("neighbors", "neighbours"))
    limits: FileRecord | None = None
    reference: FileRecord | None = None


class SelectionRecord(Record):
    """The JSON file that lists the images to show in the report, and their `count`."""

    file: FileRecord
    count: int


class ExplanationsRecord(PartialRecord):
    """The JSON file with the explanations of `count` errors of one model."""

    model: str
    file: FileRecord
    count: int


class FiguresRecord(PartialRecord):
    """The JSON file with the `count` figures of one analysis."""

    file: FileRecord
    count: int


class ChangesRecord(PartialRecord):
    """The JSON file with the differences between two runs."""

    file: FileRecord


class ReportRecord(PartialRecord):
    """The report of one run in its three formats, and its headline."""

    html: FileRecord
    markdown: FileRecord
    document: FileRecord
    verdict: str
