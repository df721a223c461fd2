"""Records: the small frozen values that travel between steps, while the data stays in files under the root.

A record names its files by a path relative to the root, their size and their SHA-256, so that it holds wherever the root
is moved. `origin` says which run made it; it is no part of its identity.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, model_validator

from tasks.base import Frozen
from tasks.safety.redaction import redact

Redacted = Annotated[str, AfterValidator(redact)]  # earlier versions kept addresses with their secrets


class Origin(Frozen):
    """By which step of which run a record was made, when, how many seconds that took, and why it was not found instead.

    `kind` is the name of the step's function, and `step` that of one run of it, such as `train` and `train plain`.
    `surroundings` are the environment variables, as NAME=VALUE, that may change what the step makes.
    """

    step: str
    kind: str
    run: str
    at: datetime
    seconds: float
    why: str = ""
    surroundings: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def with_kind(cls, values: Any) -> Any:
        """Earlier versions kept no kind, but names of steps that begin with it."""
        return _with_kind(values, "step")


def _with_kind(values: Any, name: str) -> Any:
    """The values of a record of a step, with the kind of the step as the first word of its `name` where there is none."""
    if isinstance(values, Mapping) and "kind" not in values and isinstance(values.get(name), str):
        return {**values, "kind": values[name].partition(" ")[0]}
    return values


class FileRecord(Frozen):
    """A file under the root: its path relative to the root, its size in bytes, and the SHA-256 of its bytes in hex."""

    path: str
    bytes: int
    sha256: str


class ManifestEntry(Frozen):
    """One file of a run: the step that made it, the kind of that step, and the file."""

    role: str
    kind: str
    file: FileRecord

    @model_validator(mode="before")
    @classmethod
    def with_kind(cls, values: Any) -> Any:
        """Earlier versions kept no kind, but roles that begin with it."""
        return _with_kind(values, "role")


class Omission(Frozen):
    """An optional part that a run left out, and why."""

    part: str
    why: str

    @property
    def line(self) -> str:
        """What to say of it."""
        return f"left out: {self.part}: {self.why}"


class Record(Frozen):
    """What a step returns."""

    origin: Origin | None = None

    def files(self) -> Iterator[FileRecord]:
        """Every file that this record vouches for."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            yield from (one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, FileRecord))


class PartialRecord(Record):
    """What a step returns that may leave optional parts out; if it did, it is not kept, so that the next run tries again."""

    omitted: tuple[Omission, ...] = ()


class ArchiveRecord(Record):
    """A downloaded archive, and the mirror it came from. `passed_over` holds a line for each mirror that failed before."""

    name: str
    file: FileRecord
    mirror: Redacted
    passed_over: tuple[Redacted, ...] = ()


class SplitRecord(Record):
    """One split as Parquet, of images of `shape`, (rows, columns[, 3]).

    `file` holds the first of them, `further` what does not fit into one file. `pixels_sha256` is the hash of all decoded
    pixels in order, `archives` the sources' hashes. A sample says how many images it was drawn from.
    """

    name: str
    file: FileRecord
    further: tuple[FileRecord, ...] = ()
    count: int
    drawn_from: int | None = None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    pixels_sha256: str
    archives: tuple[str, str]

    @property
    def parts(self) -> tuple[FileRecord, ...]:
        """Its files, in order."""
        return (self.file, *self.further)


class DuplicateSet(Frozen):
    """Images of identical bytes: where the first of them stand, as (split, index, label)."""

    sha256: str
    places: tuple[tuple[str, int, int], ...]


class Profile(Record):
    """What the data holds: counts by split and label, and exact duplicates within and between the splits.

    `duplicates_within` counts the surplus copies in each split; `duplicates_between` the distinct images that both hold;
    `label_conflicts` the distinct images that stand under more than one label. `examples` names the first few sets.
    """

    counts: dict[str, tuple[int, ...]]
    duplicates_within: dict[str, int]
    duplicates_between: int
    label_conflicts: int
    examples: tuple[DuplicateSet, ...] = ()


class MeasuresRecord(Record):
    """What is measured on each image of a split, as Parquet."""

    file: FileRecord


class Epoch(Frozen):
    """One line of a training history. The validation figures are None where nothing was held out."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


class ModelRecord(Record):
    """A trained model as a `.keras` file.

    `trained_on` and `held_out` count images, `fit_seconds` is the wall time of the training alone, and `threads` how many
    TensorFlow was given, 0 for one a core. An ensemble has `members` with a seed each, and no history of its own; its
    `fit_seconds` are those of all members.
    """

    name: str
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
    """The predictions of one model for every image of a split, as Parquet, with the model's figures over them.

    `loss` is the mean cross-entropy in nats; `accuracy` a share between 0 and 1.
    """

    model: str
    split: str
    file: FileRecord
    count: int
    errors: int
    accuracy: float
    loss: float


class AttributionRecord(PredictionsRecord):
    """The predictions of one model for the training split; and in a JSON file the neighbours there of its wrong answers."""

    neighbours: FileRecord


class SelectionRecord(Record):
    """The images that the report shows, named in a JSON file; `count` is how many."""

    file: FileRecord
    count: int


class ExplanationsRecord(PartialRecord):
    """What explains `count` wrong answers of one model, as JSON."""

    model: str
    file: FileRecord
    count: int


class FiguresRecord(PartialRecord):
    """The figures of one analysis, `count` of them, in a JSON file."""

    file: FileRecord
    count: int


class ChangesRecord(PartialRecord):
    """What differs between two runs, as JSON."""

    file: FileRecord


class ReportRecord(PartialRecord):
    """The report of one run, in its three forms, and what it says first."""

    html: FileRecord
    markdown: FileRecord
    document: FileRecord
    verdict: str
