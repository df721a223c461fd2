"""Define the limits beyond which a model's prediction for a new image is doubtful, and the judgment of one prediction."""

from tasks.base import Frozen
from tasks.schemas.findings import Share


class DoubtLimits(Frozen):
    """The limits of one model, chosen on images that it was not trained on, and the measured rate of false alarms.

    A prediction is doubtful if its calibrated confidence is below `confidence`, or if the distance of the image to the
    nearest training image is above `distance`. Distances are Euclidean, between the model's last features divided by
    `scale`. `reference` is the number of training images among which the nearest is found.

    The limits were chosen on `chosen_on` images, and the rates were measured on others. With `labeled`, both are
    held-out training images: `false_alarms` is the share of the correct predictions that the limits mark, `caught` that
    of the wrong predictions, and `temperature` calibrates the confidence. Otherwise the run held out too few images, and both
    are test images whose labels were not read: `false_alarms` is the share of all predictions that the limits mark, which
    includes wrong predictions, and the confidence is not calibrated.
    """

    labeled: bool
    temperature: float | None = None
    confidence: float
    distance: float
    scale: float
    reference: int
    chosen_on: int
    false_alarms: Share
    caught: Share | None = None


class Judgment(Frozen):
    """The judgment of one prediction: its calibrated confidence, its distance to the training images, and doubts.

    `confidence` is None if the run could not calibrate the model.
    """

    confidence: float | None
    distance: float
    doubts: tuple[str, ...] = ()
