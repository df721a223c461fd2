"""Picture: a person's own picture of one character, prepared as MNIST's were.

In: the bytes of a picture file of any size, colour and background. Out: an image as the network knows it, bright on black.
Refuses: what is no picture, what is too large, and what has nothing in it that stands out.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits": size-normalised to 20 of 28 pixels with
its aspect ratio kept, gray levels by anti-aliasing, the centre of mass in the centre of the image.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from tasks.errors import PictureError
from tasks.pixels import CONTRAST, Gray, gray, laid, read

BOX = 20 / 28  # the longer side of the character, of the shorter side of the image
SPECK = 0.05  # of the largest piece's area: what is smaller is dirt
EIGHT = np.ones((3, 3), bool)  # pixels that touch by a corner belong together


def prepare(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A picture as the network is shown it: `shape` uint8. In colour, its middle, as large as fits.

    Raises:
        PictureError: it is no picture, too large, or empty.
    """
    if shape[2:]:
        return read(content, "RGB", lambda image: fitted(image, shape))
    ink = ink_of(read(content, "L", gray))
    return centred(cropped(ink, foreground(ink)), shape)


def fitted(image: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The middle of a picture in colour, as large as has the image's proportions."""
    if image.has_transparency_data:
        image = laid(image)
    rows, columns = shape[:2]
    return np.asarray(ImageOps.fit(image.convert("RGB"), (columns, rows), Image.Resampling.BOX), np.uint8)


def ink_of(levels: Gray) -> Gray:
    """How far each pixel is from the background, whatever its polarity.

    The background is a plane through the picture's edge, since paper is seldom lit evenly. What of the edge is no background,
    because a stroke leaves the picture there, does not count.
    """
    rows, columns = (axis.ravel() for axis in np.indices(levels.shape))
    edge = (rows == 0) | (columns == 0) | (rows == levels.shape[0] - 1) | (columns == levels.shape[1] - 1)
    values = levels.ravel()
    design = np.column_stack([np.ones(values.size), rows, columns])
    typical = np.median(values[edge])
    usual = edge & (np.abs(values - typical) <= max(CONTRAST, 3 * np.median(np.abs(values[edge] - typical))))
    plane, *_ = np.linalg.lstsq(design[usual], values[usual], rcond=None)
    return np.asarray(np.abs(values - design @ plane).reshape(levels.shape))


def foreground(ink: Gray) -> NDArray[np.bool_]:
    """Which pixels are the character, without specks of dirt.

    Raises:
        PictureError: nothing stands out.
    """
    if ink.max() < CONTRAST:
        raise PictureError("nothing in it stands out from its background")
    pieces, _ = ndimage.label(ink > threshold(ink), EIGHT)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= max(1, SPECK * sizes.max()))[pieces] & (pieces > 0))


def threshold(ink: Gray) -> float:
    """What parts ink from paper: the level with the largest variance between the two (N. Otsu, 1979)."""
    counts, edges = np.histogram(ink, 256)
    levels = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nan_to_num(between).argmax()])


def cropped(ink: Gray, mask: NDArray[np.bool_]) -> Image.Image:
    """The character in its bounding box, bright on black; its soft edges stay."""
    full = np.percentile(ink[mask], 90)
    soft = np.where(ndimage.binary_dilation(mask, EIGHT), np.clip(ink / full, 0, 1), 0)
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return Image.fromarray((255 * soft[rows, columns]).astype(np.uint8))


def centred(character: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A character scaled into the box, its centre of mass in the centre: `shape` uint8."""
    scale = BOX * min(shape) / max(character.size)
    size = max(1, round(character.width * scale)), max(1, round(character.height * scale))
    small = np.asarray(character.resize(size, Image.Resampling.BICUBIC), np.float64)
    small *= 255 / max(small.max(), 1)
    image = np.zeros(shape, np.uint8)
    places = [
        int(np.clip(round(whole / 2 - centre), 0, whole - part))  # as MNIST has it: at 14, not at 13.5
        for whole, part, centre in zip(shape, small.shape, ndimage.center_of_mass(small), strict=True)
    ]
    image[places[0] : places[0] + small.shape[0], places[1] : places[1] + small.shape[1]] = small.round()
    return image
