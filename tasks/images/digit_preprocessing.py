"""Prepare a user's picture of one character like an image of MNIST.

The picture may have any size, color and background; the result is bright on black.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits": size-normalized to 20 of 28 pixels
with its aspect ratio preserved, gray levels by anti-aliasing, the center of mass in the center of the image.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from tasks.errors import PictureError
from tasks.images.decoding import CONTRAST, Gray, gray, lay_on_background, preview, read_picture, unread_frames
from tasks.images.strokes import (
    EIGHT,
    SPECK,
    THICK,
    Mask,
    Strokes,
    has_many_pieces,
    relative_width,
    remove_frames,
    side_by_side,
    stroke_like,
    strokes,
    threshold,
    touches_edge,
)

_BOX = 20 / 28  # longer side of the character, as a fraction of the shorter side of the image
_EVEN = 0.9  # fraction of the picture's edge; if less is background, the picture shows more than paper
_UNEVEN = "the foreground may be paper, a desk, a shadow or lines: no separate strokes of a character were found"
_ODD = "the foreground hardly has the shape of strokes: it may be part of a shadow, of a sheet or of lines"
_SEVERAL = "it shows more than one character"


class Character(NamedTuple):
    """Picture as the network's input, `shape` uint8, doubts whether it shows one character, and what it was made from.

    `left_out` is the mask of the ink that is not part of the input, or in color, of the margins; it covers the `original`,
    the upright picture at a reduced size, at any resolution. `whole` is the number of pixels of which it is a part: the ink,
    or in color, all pixels.
    """

    image: NDArray[np.uint8]
    original: Image.Image
    left_out: Mask
    whole: int
    doubts: tuple[str, ...] = ()


def read_character(content: bytes, shape: tuple[int, ...]) -> Character:
    """Convert a picture to the network's input, and return it with doubts about it.

    If `shape` has color channels, the input is the largest centered crop of the picture, without doubts about strokes.

    Raises:
        PictureError: If the content is not a picture, is too large, or shows nothing.
    """
    if shape[2:]:
        found = read_picture(content, "RGB", lambda image: _crop_to_box(image, shape))
    else:
        found = _read_strokes(content, shape)
    unread = unread_frames(content)
    return found._replace(doubts=(*found.doubts, unread)) if unread else found


def _read_strokes(content: bytes, shape: tuple[int, ...]) -> Character:
    """Convert a picture of one character to a grayscale image of a shape, with doubts whether it shows one character."""
    levels, original = read_picture(content, "RGB", lambda image: (gray(image), preview(image)))
    found, doubts = _find_character(levels)
    if has_many_pieces(found.mask):
        doubts = (_ODD,)
    elif side_by_side(found.mask):
        doubts = (*doubts, _SEVERAL)
    image = _center_by_mass(_crop_to_ink(found.ink, found.mask), shape)
    return Character(image, original, found.left_out, int((found.ink > found.level).sum()), doubts)


def _find_character(levels: Gray) -> tuple[Strokes, tuple[str, ...]]:
    """Return the strokes of the one character in a picture, and doubts whether they are strokes.

    Two methods are used: contrast with the background of the whole picture if that background is even, or else contrast
    with the paper around each pixel.
    """
    ink, even = _ink_of(levels)
    plain = _foreground(ink)
    if even >= _EVEN and not touches_edge(plain.mask) and relative_width(plain.mask) < THICK:
        return plain, ()
    local = strokes(levels)
    if local is None:
        return plain, (_UNEVEN,)
    return local, () if stroke_like(local.mask) else (_ODD,)


def _crop_to_box(image: Image.Image, shape: tuple[int, ...]) -> Character:
    """Crop the middle of a picture to the proportions of the network's images, as large as possible, in RGB."""
    original = preview(image)
    if image.has_transparency_data:
        image = lay_on_background(image)
    rows, columns = shape[:2]
    found = np.asarray(ImageOps.fit(image.convert("RGB"), (columns, rows), Image.Resampling.BOX), np.uint8)
    scale = min(original.width / columns, original.height / rows)
    left, top = (original.width - scale * columns) / 2, (original.height - scale * rows) / 2
    margins = np.ones((original.height, original.width), bool)
    margins[round(top) : round(original.height - top), round(left) : round(original.width - left)] = False
    return Character(found, original, margins, margins.size)


def _ink_of(levels: Gray) -> tuple[Gray, float]:
    """Return the contrast of each pixel with the background, and the fraction of the picture's edge that is background.

    The contrast is absolute: the character may be darker or lighter than the background. The background is a plane
    through the picture's edge, since paper is seldom lit evenly. Edge pixels that are not background, because a stroke
    leaves the picture there, are excluded from the fit.
    """
    rows, columns = (axis.ravel() for axis in np.indices(levels.shape))
    edge = (rows == 0) | (columns == 0) | (rows == levels.shape[0] - 1) | (columns == levels.shape[1] - 1)
    values = levels.ravel()
    design = np.column_stack([np.ones(values.size), rows, columns])
    typical = np.median(values[edge])
    usual = edge & (np.abs(values - typical) <= max(CONTRAST, 3 * np.median(np.abs(values[edge] - typical))))
    plane, *_ = np.linalg.lstsq(design[usual], values[usual], rcond=None)
    ink = np.abs(values - design @ plane)
    return np.asarray(ink.reshape(levels.shape)), float(np.mean(ink[edge] <= CONTRAST))


def _foreground(ink: Gray) -> Strokes:
    """Return the strokes of the character, without specks of dirt and without a frame."""
    if ink.max() < CONTRAST or np.ptp(ink) < 1:
        raise PictureError("it shows no foreground: nothing contrasts enough with its background")
    level = threshold(ink)
    pieces, _ = ndimage.label(ink > level, EIGHT)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(1, SPECK * sizes.max()))
    return Strokes(ink, np.isin(pieces, remove_frames(pieces, [int(number) for number in kept])), level)


def _crop_to_ink(ink: Gray, mask: NDArray[np.bool_]) -> Image.Image:
    """Crop the character to its bounding box, bright on black, with soft edges."""
    full = np.percentile(ink[mask], 90)
    soft = np.where(ndimage.binary_dilation(mask, EIGHT), np.clip(ink / full, 0, 1), 0)
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return Image.fromarray((255 * soft[rows, columns]).astype(np.uint8))


def _center_by_mass(character: Image.Image, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Scale a character to the box, and place its center of mass in the center of an image: `shape` uint8."""
    scale = _BOX * min(shape) / max(character.size)
    size = max(1, round(character.width * scale)), max(1, round(character.height * scale))
    small = np.asarray(character.resize(size, Image.Resampling.BICUBIC), np.float64)
    small *= 255 / max(small.max(), 1)
    image = np.zeros(shape, np.uint8)
    places = [
        int(np.clip(round(whole / 2 - center), 0, whole - part))  # as in MNIST: at 14, not at 13.5
        for whole, part, center in zip(shape, small.shape, ndimage.center_of_mass(small), strict=True)
    ]
    image[places[0] : places[0] + small.shape[0], places[1] : places[1] + small.shape[1]] = small.round()
    return image
