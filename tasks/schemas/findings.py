"""Findings: the values that the analysis document is made of, one class for each thing that it can say.

Shares and probabilities are between 0 and 1, intervals are of 95 %, images are named by their index in their split. Pictures
and maps are raw bytes, rows x columns, in base64. What can't be measured on the data, such as how rare a distance is where
there is none to compare it with, is None.
"""

from tasks.base import Frozen

SIGNIFICANT = 0.05  # below this p-value, a difference is called real


class Share(Frozen):
    """`count` of `total`, with the Wilson interval of the share; of no images, it is not `known`."""

    count: int
    total: int
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether it is the share of anything."""
        return self.total > 0

    @property
    def value(self) -> float:
        """The share itself; 0 where it is not known."""
        return self.count / self.total if self.total else 0.0


class Estimate(Frozen):
    """A figure with its interval."""

    value: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """A difference of shares in points, in words."""
        low, value, high = (f"{100 * share:+z.2f}" for share in (self.low, self.value, self.high))  # z: never -0.00
        return f"{value} points (95 % interval {low} to {high})"


class Comparison(Frozen):
    """Two classifiers over the same images, paired: how often each was right where the other was not, and what follows.

    `difference` is the second's accuracy minus the first's, `loss` the same of the mean cross-entropy in nats, and `p` the
    exact McNemar test's, corrected for as many `tests` as were made together. `same_wrong` counts the images for which both
    gave the same wrong answer.
    """

    first: str
    second: str
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    same_wrong: int
    difference: Estimate
    loss: Estimate
    p: float
    tests: int = 1

    @property
    def total(self) -> int:
        """How many images were compared."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def real(self) -> bool:
        """Whether the difference is beyond what chance among the images explains."""
        return self.p < SIGNIFICANT

    @property
    def better(self) -> str:
        """The one that was right more often; the first if neither was."""
        return self.second if self.only_second > self.only_first else self.first


class Bin(Frozen):
    """The answers whose probability lies between `low` and `high`: their mean probability, and how many were right."""

    low: float
    high: float
    confidence: float
    right: Share


class Calibration(Frozen):
    """How far a model's probabilities can be believed: mean cross-entropy (nats), Brier score, expected error of bins."""

    log_loss: Estimate
    brier: Estimate
    expected_error: Estimate
    bins: tuple[Bin, ...]


class LabelErrors(Frozen):
    """The errors among the images of one label and `elsewhere`, in the order of the models.

    `p` is McNemar's exact test's by comparison, `p_elsewhere` Fisher's by model; each is corrected by Holm over all labels.
    """

    label: int
    errors: tuple[Share, ...]
    elsewhere: tuple[Share, ...]
    p: tuple[float, ...]
    p_elsewhere: tuple[float, ...]

    def stands_out(self, model: int) -> bool:
        """Whether a model errs more often on this label than on the others, beyond chance."""
        return self.p_elsewhere[model] < SIGNIFICANT and self.errors[model].value > self.elsewhere[model].value


class Pattern(Frozen):
    """How often each model took `label` for `predicted`, and how many `images` any did; `shown` names those in the report."""

    predicted: int
    label: int
    counts: tuple[int, ...]
    images: int
    shown: tuple[int, ...] = ()


class DisagreementGroup(Frozen):
    """Images that two models answered in one way, such as "only plain is wrong"; `shown` names those in the report."""

    name: str
    count: int
    shown: tuple[int, ...]


class Slice(Frozen):
    """The images whose `feature` lies from `low` to `high`, and how they fare against all the others.

    `errors` and `elsewhere` are in the order of the models; `p` is Fisher's exact test's, corrected by Holm over all slices
    of all models.
    """

    feature: str
    low: float
    high: float
    errors: tuple[Share, ...]
    elsewhere: tuple[Share, ...]
    p: tuple[float, ...]

    def stands_out(self, model: int) -> bool:
        """Whether a model errs more often here than elsewhere, beyond chance."""
        return self.p[model] < SIGNIFICANT and self.errors[model].value > self.elsewhere[model].value


class LabelIssue(Frozen):
    """An image whose label may be wrong: the models say `said`, each with the probability of its answer.

    `named` tells whether all models are sure of it, `cleanlab` whether cleanlab names it; `quality` is cleanlab's score of
    the label, low where it is doubtful, None where cleanlab can't judge the split.
    """

    index: int
    label: int
    said: int
    probabilities: tuple[float, ...]
    named: bool
    cleanlab: bool
    quality: float | None


class LabelIssuePattern(Frozen):
    """How many suspects of one label are said to be of another."""

    label: int
    said: int
    count: int


class LabelIssues(Frozen):
    """The suspects of one split: how many the models name, how many cleanlab does, how many both; the surest are `shown`.

    cleanlab's counts are None where all images have one label: it compares labels.
    """

    split: str
    total: int
    named: int
    by_cleanlab: int | None
    by_both: int | None
    patterns: tuple[LabelIssuePattern, ...]
    shown: tuple[LabelIssue, ...]

    @property
    def by_either(self) -> int:
        """How many there are in all."""
        return self.named + (self.by_cleanlab or 0) - (self.by_both or 0)


class Patch(Frozen):
    """The smallest square whose erasing makes a model say the label, with this probability; in pixels from the top left."""

    row: int
    column: int
    edge: int
    probability: float


class CorrectionRegion(Frozen):
    """How many of a model's errors on a label are mended by a patch in one part of the image, of all that any patch mends.

    `elsewhere` is the same share over all other labels; `p` is Fisher's exact test's, corrected by Holm over all models,
    labels and places.
    """

    model: str
    label: int
    place: str
    here: Share
    elsewhere: Share
    p: float

    @property
    def stands_out(self) -> bool:
        """Whether such patches gather here for this label more than for others, beyond chance."""
        return self.p < SIGNIFICANT and self.here.value > self.elsewhere.value


class Neighbor(Frozen):
    """A training image, and how far it lies in the space of the model's last features."""

    index: int
    label: int
    distance: float


class NeighborSet(Frozen):
    """Where among the training images an image lies.

    `rarity` is the share of right answers whose nearest is nearer, None where no answer is right.
    """

    neighbours: tuple[Neighbor, ...]
    rarity: float | None


class Attribution(Frozen):
    """Where among the training images all of one model's wrong answers lie: by the image's index."""

    model: str
    by_index: dict[int, NeighborSet]


class Explanation(NeighborSet):
    """Why a model may have been wrong about an image.

    `heat` holds the label's probability, 0 to 255, with a window around each pixel erased.
    """

    patch: Patch | None
    heat: str


class SaliencyMap(Frozen):
    """Where a model looks for a label: the mean fall of its probability with a window around each pixel erased.

    The mean is over `count` right answers; `heat` is 255 at the greatest fall, `peak`, which lies at (`row`, `column`).
    `ink_here` is the share of images of this label with ink in the window there, `ink_elsewhere` that of all other labels.
    """

    label: int
    count: int
    peak: float
    row: int
    column: int
    ink_here: float
    ink_elsewhere: float
    heat: str


class Explanations(Frozen):
    """What is explained of one model's answers: by the image's index, and by label."""

    model: str
    window: int
    by_index: dict[int, Explanation]
    focus: tuple[SaliencyMap, ...]


class Answer(Frozen):
    """What one model says of one image, with the probability of its answer and of the label."""

    predicted: int
    probability: float
    label_probability: float
    explanation: Explanation | None = None


class Picture(Frozen):
    """An image that the report shows, with every model's answer; `number` is its index in the split that a sample is of."""

    index: int
    number: int
    sha256: str
    label: int
    pixels: str
    answers: tuple[Answer, ...]
