"""Define the settings for random augmentation of training images.

A recipe gives the values, and `tasks.images.augment` applies them with new random draws in every epoch.
"""

from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt

from tasks.base import Frozen

Some = Annotated[StrictFloat, Field(gt=0, le=1)]  # fraction of the images
Degrees = Annotated[StrictFloat, Field(ge=0, le=180)]
Pixels = Annotated[StrictFloat, Field(ge=0, le=1000)]


class BarSettings(Frozen):
    """Bar through the stem of a `share` of the images of one `label`, as in a crossed seven."""

    label: StrictInt = Field(ge=0)
    share: Some


class SpeckSettings(Frozen):
    """Specks in a `share` of the images: up to `most` short strokes at random positions."""

    share: Some
    most: StrictInt = Field(default=3, ge=1, le=100)


class Augmentation(Frozen):
    """Limits of the random movement of an image in either direction, and the marks that are drawn on it.

    `shift` is in pixels, `rotation` and `shear` are in degrees, and `scale` is a fraction, which is drawn separately
    for height and width. `elastic` is the standard deviation of the displacement of each pixel, in pixels. Bars and
    specks are drawn before the image is moved.
    """

    shift: Pixels = 0.0
    rotation: Degrees = 0.0
    shear: StrictFloat = Field(default=0.0, ge=0, le=60)
    scale: StrictFloat = Field(default=0.0, ge=0, le=0.9)
    elastic: Pixels = 0.0
    bars: BarSettings | None = None
    specks: SpeckSettings | None = None

    @property
    def moves(self) -> bool:
        """Whether any setting moves pixels."""
        return any((self.shift, self.rotation, self.shear, self.scale, self.elastic))
