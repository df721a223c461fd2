"""Define the results of a study, which trains the same models with many seeds.

An arm is one model of one recipe. Shares are between 0 and 1, intervals are 95 % confidence intervals, images are named
by their index in the test split, and all values by seed are in the order of the trainings.
"""

from pydantic import AliasChoices, Field

from tasks.base import Frozen
from tasks.config.recipe import ModelSpec
from tasks.schema_version import SCHEMA_VERSION
from tasks.schemas.findings import SIGNIFICANT, Estimate, Picture
from tasks.schemas.records import FileRecord, Record

ENOUGH_SEEDS = 5  # with fewer seeds, the standard deviation has at most three degrees of freedom


class SeedRun(ModelSpec):
    """One model to train in a study, and the arm that it belongs to."""

    arm: str

    @property
    def title(self) -> str:
        """The title that is unique within the study."""
        return f"{self.arm}, seed {self.training.seed}"


class StudyModel(Frozen):
    """One arm: a model that was trained several times.

    `seeds` holds the seeds of each training, which are several for an ensemble; it is empty in studies of earlier
    versions. `accuracy` is the mean over the trainings, with the interval for other seeds on the same images. `deviation` is
    the standard deviation over the trainings. `wrong_by` counts the images that exactly 0, 1, 2, ... of the trainings
    misclassified.
    """

    name: str
    seeds: tuple[tuple[int, ...], ...] = ()
    parameters: int
    epochs: int
    fit_seconds: float
    errors: tuple[int, ...]
    accuracy: Estimate
    deviation: Estimate
    wrong_by: tuple[int, ...]

    @property
    def always_wrong(self) -> int:
        """The number of images that every training misclassifies."""
        return self.wrong_by[-1]

    @property
    def sometimes_wrong(self) -> int:
        """The number of images that some trainings misclassify and others do not."""
        return sum(self.wrong_by[1:-1])


class ComparisonNoise(Frozen):
    """The noise of a comparison that trains each model once, as standard deviations of the accuracy difference.

    `seeds` is the noise with other seeds on the same images, `images` with the same trained models on other images, and
    `both` with other seeds and other images.
    """

    seeds: float
    images: float
    both: float


class ModelPair(Frozen):
    """A comparison of two arms, paired by image and, if both arms have the same seeds, by seed.

    Differences are the accuracy of the second arm minus that of the first; `by_seed` holds those of each training.
    `over_seeds`, `over_images` and `over_both` hold the mean difference with the interval for other seeds on these
    images, for other images with these trained models, and for both. `p` is the p-value of no difference over both,
    corrected with Holm's method over all pairs. `seeds_needed` is the number of seeds per arm that would detect the
    study's claim with a power of 80 % on these images, or None if there is no claim or no estimate.
    """

    first: str
    second: str
    by_seed: tuple[float, ...]
    over_seeds: Estimate
    over_images: Estimate
    over_both: Estimate
    noise: ComparisonNoise
    p: float
    seeds_needed: int | None = Field(default=None, validation_alias=AliasChoices("seeds_needed", "needed"))

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant."""
        return self.p < SIGNIFICANT


class Confusion(Frozen):
    """A comparison of how often two arms predict `predicted` for images of `label`, in errors per training.

    `difference` is the second minus the first. Its interval and `p` are over other seeds and other images; `p` is
    corrected with Holm's method over all confusions of all pairs.
    """

    first: str
    second: str
    label: int
    predicted: int
    by_first: float
    by_second: float
    difference: Estimate
    p: float


class Claim(Frozen):
    """A reported difference between two models that were trained once each, and its source."""

    first: str
    second: str
    difference: float
    source: str = Field(validation_alias=AliasChoices("source", "said_by"))


class HardImage(Frozen):
    """An image that many trainings misclassify.

    `wrong` counts, for each arm, the trainings that misclassify the image. `predicted` is the most frequent wrong
    prediction.
    """

    picture: Picture
    wrong: tuple[int, ...]
    predicted: int = Field(validation_alias=AliasChoices("predicted", "taken_for"))


class Study(Frozen):
    """All content of a study's report.

    `seeds` holds the seed of each training if it is the same for all arms, and is empty otherwise: see the arms.
    `images` is the number of test images, and `drawn_from` the number that they were sampled from, if any.
    `always_wrong` counts the images that every training misclassified, and `wrong_twice` those that more than one
    training misclassified; `hard` holds the hardest of the latter.
    """

    schema_version: int = SCHEMA_VERSION
    dataset: str
    title: str
    license: str = Field(validation_alias=AliasChoices("license", "licence"))
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    images: int
    drawn_from: int | None = None
    seeds: tuple[int, ...]
    arms: tuple[StudyModel, ...]
    pairs: tuple[ModelPair, ...]
    confusions: tuple[Confusion, ...] = ()
    claim: Claim | None
    always_wrong: int
    wrong_twice: int
    hard: tuple[HardImage, ...]

    @property
    def trainings(self) -> int:
        """The number of trainings of each arm."""
        return len(self.arms[0].errors)


class StudyRecord(Record):
    """The JSON file with the study, and the results of its arms and pairs."""

    file: FileRecord
    seeds: tuple[int, ...]
    arms: tuple[StudyModel, ...]
    pairs: tuple[ModelPair, ...]
