"""Define the results of evaluating models on corrupted images.

The image is the unit of all intervals, because the corrupted forms of one image are not independent.
"""

from tasks.base import Frozen
from tasks.schemas.findings import Estimate, Share
from tasks.schemas.records import FileRecord, Record


class CorruptionCounts(Frozen):
    """Counts of one model's correct predictions on the same `images` images, clean and corrupted.

    `clean` counts the correct predictions on the clean images, and `right` those for each corruption in the order of
    severity. `by_image` counts, for each image, the corrupted forms that the model classified correctly.
    """

    model: str
    images: int
    clean: int
    right: dict[str, tuple[int, ...]]
    by_image: tuple[int, ...]


class RobustnessRecord(Record):
    """The JSON file with the `CorruptionCounts` of one model."""

    model: str
    file: FileRecord


class CorruptionAccuracy(Frozen):
    """The accuracy of one model on clean images, by corruption and severity, and averaged over all corrupted forms."""

    model: str
    clean: Share
    right: dict[str, tuple[Share, ...]]
    mean: Estimate


class AccuracyGap(Frozen):
    """The difference of two models' mean accuracy on the same corrupted images, second minus first."""

    first: str
    second: str
    difference: Estimate


class Robustness(Frozen):
    """The robustness of all models on `images` images drawn from the test images.

    `examples` shows all corrupted forms of one image, in base64.
    """

    images: int
    examples: dict[str, tuple[str, ...]]
    models: tuple[CorruptionAccuracy, ...]
    gaps: tuple[AccuracyGap, ...]
