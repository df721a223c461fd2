"""Seeds: the values that a study of many seeds is made of.

An arm is one model of one recipe. Shares are between 0 and 1, intervals are of 95 %, images are named by their index in the
test split. Everything by seed stands in the order of the seeds.
"""

from tasks.base import Frozen
from tasks.config.recipe import ModelSpec
from tasks.schemas.findings import SIGNIFICANT, Estimate, Picture
from tasks.schemas.records import FileRecord, Record

ENOUGH_SEEDS = 5  # of fewer, the spread from seed to seed is known from three degrees of freedom at most


class SeedRun(ModelSpec):
    """One model of a study, and the arm that it belongs to."""

    arm: str

    @property
    def title(self) -> str:
        """What distinguishes it from the study's others."""
        return f"{self.arm}, seed {self.training.seed}"


class StudyModel(Frozen):
    """One model, trained with every seed.

    `accuracy` is the mean over seeds, with the interval for other seeds on the same images; `deviation` the standard deviation
    from seed to seed. `wrong_by` counts the images that exactly 0, 1, 2, ... of the seeds got wrong.
    """

    name: str
    parameters: int
    epochs: int
    fit_seconds: float
    errors: tuple[int, ...]
    accuracy: Estimate
    deviation: Estimate
    wrong_by: tuple[int, ...]

    @property
    def always_wrong(self) -> int:
        """How many images every seed gets wrong."""
        return self.wrong_by[-1]

    @property
    def sometimes_wrong(self) -> int:
        """How many images some seeds get wrong, and others right."""
        return sum(self.wrong_by[1:-1])


class ComparisonNoise(Frozen):
    """By how much one comparison of two trainings is off by chance, as standard deviations of the difference of accuracies.

    `seeds`: with other seeds on the same images; `images`: with the same trained models on other images; `both`: with both.
    """

    seeds: float
    images: float
    both: float


class ModelPair(Frozen):
    """Two arms, paired by seed and by image: the second's accuracy minus the first's.

    The mean difference with three intervals: for other seeds on these images, for other images with these trained models, and
    for both. `p` is that of no difference over both, corrected by Holm over all pairs. `needed` is how many seeds of each would
    show the study's claim, with a probability of 80 %, on these images; None where too few seeds were trained to say so.
    """

    first: str
    second: str
    by_seed: tuple[float, ...]
    over_seeds: Estimate
    over_images: Estimate
    over_both: Estimate
    noise: ComparisonNoise
    p: float
    needed: int | None = None

    @property
    def real(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.p < SIGNIFICANT


class Confusion(Frozen):
    """How often two arms take `label` for `predicted`, in errors a training, and the second's less the first's.

    The interval and `p` are over other seeds and other images; `p` is corrected by Holm over all confusions of all pairs.
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
    """A difference that somebody saw between two models, each trained once."""

    first: str
    second: str
    difference: float
    said_by: str


class Hard(Frozen):
    """An image that many trainings get wrong: by how many of each arm's seeds, and what they take it for most often."""

    picture: Picture
    wrong: tuple[int, ...]
    taken_for: int


class Study(Frozen):
    """Everything that the report of a study states.

    Of so many `images`, perhaps drawn from more, `always_wrong` counts those that no training at all got right, `wrong_twice`
    those that more than one got wrong, of which `hard` holds the hardest.
    """

    dataset: str
    title: str
    licence: str
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
    hard: tuple[Hard, ...]


class StudyRecord(Record):
    """The document of a study as JSON, and what it says of its arms."""

    file: FileRecord
    seeds: tuple[int, ...]
    arms: tuple[StudyModel, ...]
    pairs: tuple[ModelPair, ...]
