"""Define the findings that the analysis document is made of, one class for each kind.

Shares and probabilities are between 0 and 1, intervals are 95 % confidence intervals, and images are named by their
index in their split. Pixels and maps are raw bytes, rows x columns, in base64. A value that is undefined for the data
is None.
"""

from pydantic import AliasChoices, Field

from tasks.base import Frozen

SIGNIFICANT = 0.05  # a difference with a smaller p-value is called significant


class Share(Frozen):
    """The share `count` / `total` with its Wilson interval; undefined if `total` is 0."""

    count: int
    total: int
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether the share is defined."""
        return self.total > 0

    @property
    def value(self) -> float:
        """The share, or 0 if it is undefined."""
        return self.count / self.total if self.total else 0.0


class Estimate(Frozen):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """The value as a difference of shares, in percentage points and in words."""
        low, value, high = (f"{100 * share:+z.2f}" for share in (self.low, self.value, self.high))  # z: never -0.00
        return f"{value} points (95 % interval {low} to {high})"


class Comparison(Frozen):
    """A paired comparison of two classifiers on the same images.

    `difference` is the accuracy of the second minus that of the first, and `loss` is the same difference of the mean
    cross-entropy in nats. `p` is the p-value of the exact McNemar test, corrected for the `tests` tests that were made
    together. `same_wrong` counts the images that both misclassified with the same prediction.
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
        """The number of compared images."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def significant(self) -> bool:
        """Whether the difference is statistically significant."""
        return self.p < SIGNIFICANT


class Bin(Frozen):
    """One bin of a reliability diagram: its bounds, the mean confidence, and the share of correct predictions."""

    low: float
    high: float
    confidence: float
    right: Share


class Calibration(Frozen):
    """Calibration of one model: log loss in nats, Brier score, expected calibration error, and reliability bins."""

    log_loss: Estimate
    brier: Estimate
    expected_error: Estimate
    bins: tuple[Bin, ...]


class LabelErrors(Frozen):
    """The error rates of the models on the images of one label, compared with all other images (`elsewhere`).

    `errors` and `elsewhere` are in the order of the models. `p` holds the p-value of McNemar's exact test for each pair
    of models, and `p_elsewhere` that of Fisher's exact test for each model. Both are corrected with Holm's method over
    all labels.
    """

    label: int
    errors: tuple[Share, ...]
    elsewhere: tuple[Share, ...]
    p: tuple[float, ...]
    p_elsewhere: tuple[float, ...]

    def stands_out(self, model: int) -> bool:
        """Return whether the model's error rate is significantly higher on this label than elsewhere."""
        return self.p_elsewhere[model] < SIGNIFICANT and self.errors[model].value > self.elsewhere[model].value


class Pattern(Frozen):
    """A confusion: how often each model predicted `predicted` for images of `label`.

    `images` counts the images that at least one model confused this way, and `shown` holds the indices of those in the
    report.
    """

    predicted: int
    label: int
    counts: tuple[int, ...]
    images: int
    shown: tuple[int, ...] = ()


class DisagreementGroup(Frozen):
    """A group of images with the same outcome for two models, such as "only plain wrong".

    `shown` holds the indices of the images in the report.
    """

    name: str
    count: int
    shown: tuple[int, ...]


class Slice(Frozen):
    """The images whose `feature` lies from `low` to `high`, compared with all other images (`elsewhere`).

    `errors` and `elsewhere` hold the error rates in the order of the models. `p` holds the p-values of Fisher's exact
    test, corrected with Holm's method over all slices and models.
    """

    feature: str
    low: float
    high: float
    errors: tuple[Share, ...]
    elsewhere: tuple[Share, ...]
    p: tuple[float, ...]

    def stands_out(self, model: int) -> bool:
        """Return whether the model's error rate is significantly higher on this slice than elsewhere."""
        return self.p[model] < SIGNIFICANT and self.errors[model].value > self.elsewhere[model].value


class LabelIssue(Frozen):
    """An image whose label may be wrong.

    `predicted` is the label with the highest mean probability over the models, and `probabilities` holds the confidence of
    each model. `by_models` tells whether all models agree on another label with high confidence, and `by_cleanlab`
    whether cleanlab reports the image. `quality` is cleanlab's label quality score: low for a doubtful label, None if
    cleanlab can't score the split.
    """

    index: int
    label: int
    predicted: int
    probabilities: tuple[float, ...]
    by_models: bool = Field(validation_alias=AliasChoices("by_models", "named"))
    by_cleanlab: bool = Field(validation_alias=AliasChoices("by_cleanlab", "cleanlab"))
    quality: float | None


class LabelIssuePattern(Frozen):
    """The number of label issues with label `label` that the models classify as `predicted`."""

    label: int
    predicted: int
    count: int


class LabelIssues(Frozen):
    """The label issues of one split.

    `by_models`, `by_cleanlab` and `by_both` count the issues found by the models, by cleanlab and by both; `shown`
    holds the most confident ones. cleanlab's counts are None if all images have the same label, because cleanlab
    compares labels.
    """

    split: str
    total: int
    by_models: int = Field(validation_alias=AliasChoices("by_models", "named"))
    by_cleanlab: int | None
    by_both: int | None
    patterns: tuple[LabelIssuePattern, ...]
    shown: tuple[LabelIssue, ...]

    @property
    def by_either(self) -> int:
        """The number of label issues found by the models or by cleanlab."""
        return self.by_models + (self.by_cleanlab or 0) - (self.by_both or 0)


class Patch(Frozen):
    """The smallest square that, once erased, makes a model predict the label.

    `row` and `column` are the top left corner and `edge` is the side length, in pixels. `probability` is the label's
    probability with the square erased.
    """

    row: int
    column: int
    edge: int
    probability: float


class CorrectionRegion(Frozen):
    """The share of a model's correcting patches for one label that lie in one region of the image.

    `here` is that share among the errors of `label` that a patch corrects, and `elsewhere` is the same share for all
    other labels. `p` is the p-value of Fisher's exact test, corrected with Holm's method over all models, labels and
    regions.
    """

    model: str
    label: int
    region: str = Field(validation_alias=AliasChoices("region", "place"))
    here: Share
    elsewhere: Share
    p: float

    @property
    def stands_out(self) -> bool:
        """Whether the share is significantly higher for this label than for the other labels."""
        return self.p < SIGNIFICANT and self.here.value > self.elsewhere.value


class Neighbor(Frozen):
    """A training image, and its Euclidean distance in the space of the inputs to the model's last layer."""

    index: int
    label: int
    distance: float


class NeighborSet(Frozen):
    """The training images nearest to an image.

    `nearest_distance_percentile` is the share, from 0 to 1, of correctly classified images whose nearest training image
    is closer, or None if there is none.
    """

    neighbors: tuple[Neighbor, ...] = Field(validation_alias=AliasChoices("neighbors", "neighbours"))
    nearest_distance_percentile: float | None = Field(
        validation_alias=AliasChoices("nearest_distance_percentile", "rarity")
    )


class Attribution(Frozen):
    """The nearest training images of each image that one model misclassified, by the image's index."""

    model: str
    by_index: dict[int, NeighborSet]


class Explanation(NeighborSet):
    """An explanation of one misclassification: the nearest training images, a correcting patch and an occlusion map.

    `patch` is None if erasing no square corrects the error. `heat` holds the label's probability, scaled to 0 to 255,
    with a window around each pixel erased.
    """

    patch: Patch | None
    heat: str


class SaliencyMap(Frozen):
    """The image regions that a model relies on for a label.

    The map shows how much the label's probability drops, on average, with a window around each pixel erased. The mean
    is over `count` correctly classified images. `heat` is scaled so that 255 is the largest drop, `peak`, at (`row`,
    `column`). `ink_here` is the share of images of this label with ink in the window there, `ink_elsewhere` that of all
    others.
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
    """The explanations of one model's errors by the image's index, and its saliency map for each label."""

    model: str
    window: int
    by_index: dict[int, Explanation]
    saliency_maps: tuple[SaliencyMap, ...] = Field(validation_alias=AliasChoices("saliency_maps", "focus"))


class Answer(Frozen):
    """The prediction of one model for one image, with the probabilities of the predicted and of the true label."""

    predicted: int
    probability: float
    label_probability: float
    explanation: Explanation | None = None


class Picture(Frozen):
    """An image in the report, with every model's answer.

    `number` is the index in the full split, which differs from `index` if the analysis used a sample.
    """

    index: int
    number: int
    sha256: str
    label: int
    pixels: str
    answers: tuple[Answer, ...]
