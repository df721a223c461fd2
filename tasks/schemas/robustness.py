"""Robustness: what a model makes of corrupted images.

Counts, shares by corruption and severity, their mean, and how models differ in it. The unit of chance is the image: all its
corrupted forms stand or fall together.
"""

from tasks.base import Frozen
from tasks.schemas.findings import Estimate, Share
from tasks.schemas.records import FileRecord, Record


class CorruptionCounts(Frozen):
    """One model over the same `images`, as they are and corrupted.

    `clean` counts the right answers as they are, `right` those by corruption in the order of severities, and `by_image` in how
    many of its corrupted forms each image was right.
    """

    model: str
    images: int
    clean: int
    right: dict[str, tuple[int, ...]]
    by_image: tuple[int, ...]


class RobustnessRecord(Record):
    """The Stress of one model, as JSON."""

    model: str
    file: FileRecord


class CorruptionAccuracy(Frozen):
    """One model's accuracy on images as they are, by corruption and severity, and its mean over all corrupted forms."""

    model: str
    clean: Share
    right: dict[str, tuple[Share, ...]]
    mean: Estimate


class AccuracyGap(Frozen):
    """Two models over the same corrupted images: the second's mean accuracy minus the first's."""

    first: str
    second: str
    difference: Estimate


class Robustness(Frozen):
    """All models on so many `images`, drawn from the test images; `examples` shows one of them in all its forms, in base64."""

    images: int
    examples: dict[str, tuple[str, ...]]
    models: tuple[CorruptionAccuracy, ...]
    gaps: tuple[AccuracyGap, ...]
