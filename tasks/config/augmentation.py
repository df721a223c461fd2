"""Augmentation: how training images are altered at random, anew in every epoch, so that a network learns what does not matter.

In: what a recipe says. Out: frozen values, which `tasks.images.augment` follows. Refuses: values out of range.
"""

from typing import Annotated

from pydantic import Field

from tasks.base import Frozen

Some = Annotated[float, Field(gt=0, le=1)]  # a share of the images
Degrees = Annotated[float, Field(ge=0, le=180)]
Pixels = Annotated[float, Field(ge=0, le=1000)]


class BarSettings(Frozen):
    """A bar through the stem of `share` of the images of one `label`, as many people write a seven."""

    label: int = Field(ge=0)
    share: Some


class SpeckSettings(Frozen):
    """Dirt in `share` of the images: up to `most` short strokes anywhere."""

    share: Some
    most: int = Field(default=3, ge=1, le=100)


class Augmentation(Frozen):
    """How far an image is moved at most, either way: shifted by pixels, turned and sheared by degrees, scaled by a share.

    Height and width are scaled each for itself. `elastic` is the standard deviation of the displacement of each pixel, in
    pixels. Bars and specks are drawn before anything moves.
    """

    shift: Pixels = 0.0
    rotation: Degrees = 0.0
    shear: float = Field(default=0.0, ge=0, le=60)
    scale: float = Field(default=0.0, ge=0, le=0.9)
    elastic: Pixels = 0.0
    bars: BarSettings | None = None
    specks: SpeckSettings | None = None

    @property
    def moves(self) -> bool:
        """Whether anything moves."""
        return any((self.shift, self.rotation, self.shear, self.scale, self.elastic))
