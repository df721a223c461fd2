"""Find strokes on paper that is lit or colored unevenly, or that does not fill the picture.

A desk, a shadow and the edge of a sheet are wider than a stroke and reach the picture's edge. Ruled lines reach the
edge, too, and are thinner than a stroke.
Source: J. Serra, "Image Analysis and Mathematical Morphology", 1982: the top-hat transform, and reconstruction.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.images.decoding import CONTRAST, Gray

Mask = NDArray[np.bool_]

EIGHT = np.ones((3, 3), bool)  # pixels that touch at a corner are connected
_REACH = 6  # the widest stroke is a sixth of the picture's longer side
_DARK = 60  # of 255; below this level, contrast cannot be distinguished from noise
_SPAN = 0.08  # fraction of the picture's longer side; a smaller piece is not a character
_THICKEST = 4  # half the width in pixels of the thickest line that is removed
_EDGE = 7  # pixels over which the level changes from a stroke to paper in a blurred picture
_OUTLINED = 0.82  # fraction of the outline with a steep edge; a piece of a shadow has less, a stroke more
_SPARSE = 0.02  # fraction of the bounding box; one character fills more
_FRAME = 0.1  # fraction of the bounding box; a frame fills less
_TALL = 0.6  # fraction of the total height; a piece that is less tall is part of a character
_OVERLAP = 0.2  # fraction of the narrower piece's width
_THIN, THICK = 0.03, 0.33  # limits of a stroke's width, as fractions of the longer side of a character
_LONG = 7  # ratio of length to width; a longer piece may be an edge instead of a 1
_PIECES = 4  # most pieces of a character, whose strokes may be faint
SPECK = 0.05  # fraction of the largest piece's area; a smaller piece is dirt


class Strokes(NamedTuple):
    """Contrast of each pixel with the paper around it, `ink` from 0 to 255, and the `mask` of the strokes.

    Contrast above `level` is ink; the strokes are those pieces of it that belong to the character.
    """

    ink: Gray
    mask: Mask
    level: float

    @property
    def left_out(self) -> Mask:
        """The ink that is not part of the character, such as specks, frames and lines, without the soft edges."""
        return np.asarray((self.ink > self.level) & ~ndimage.binary_dilation(self.mask, EIGHT))


def threshold(ink: Gray) -> float:
    """Return the level that separates ink and paper with the largest variance between them (N. Otsu, 1979)."""
    counts, edges = np.histogram(ink, 256)
    levels = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nan_to_num(between).argmax()])


def strokes(levels: Gray) -> Strokes | None:
    """Return the strokes of one character, dark on light or light on dark, or None if there are none.

    Gaps between strokes stand out from their surroundings as well, and are excluded.
    """
    size = max(3, max(levels.shape) // _REACH)
    above = np.maximum(ndimage.grey_closing(levels, (size, size), mode="nearest"), _DARK)
    below = ndimage.grey_opening(levels, (size, size), mode="nearest")
    near = ndimage.maximum_filter(levels, _EDGE) - ndimage.minimum_filter(levels, _EDGE)
    dark = _stroked(255 * np.maximum(1 - levels / above, 0), 255 * near / above)  # paper in a shadow has less contrast
    light = _stroked(levels - below, near)
    dark, light = (one if one and _strokes_on_paper(one) else None for one in (dark, light))
    if dark and light:
        # Both the stroke and the hole of a ring stand out from their surroundings; the hole is wider.
        return light if _within(dark.mask, light.mask) and _width(light.mask) < _width(dark.mask) else dark
    return dark or light


def _stroked(ink: Gray, near: Gray) -> Strokes | None:
    """Return the strokes among the pixels with contrast, or None, without pieces that reach the picture's edge.

    `near` is the range of levels around each pixel.
    """
    if np.ptp(ink) < CONTRAST:
        return None
    level = max(threshold(ink), CONTRAST)
    mask = ink > level
    for half in range(_THICKEST + 1):
        pieces, count = ndimage.label(_open_mask(mask, half), EIGHT)
        kept = [number for number in _characters(pieces) if _outlined(pieces, number, ink, near)] if count else []
        kept = remove_frames(pieces, kept)
        if kept:
            # Opening cuts lines into dashes, which are as thin as the lines: keep only thicker pieces.
            thick = {*np.unique(pieces[_open_mask(mask, half + 1)])}
            found = np.isin(pieces, [number for number in kept if number in thick or not half])
            if half:
                found = mask & ndimage.binary_dilation(found, _square(half + 1))
            if found.any():
                return Strokes(ink, found, level)
    return None


def _square(half: int) -> Mask:
    """Return a square structuring element with a center, `2 * half + 1` pixels wide."""
    return np.ones((2 * half + 1, 2 * half + 1), bool)


def _open_mask(mask: Mask, half: int) -> Mask:
    """Remove the parts of a mask that are at most `2 * half` pixels thick."""
    return ndimage.binary_opening(mask, _square(half)) if half else mask


def _characters(pieces: NDArray[np.int32]) -> list[int]:
    """Return the numbers of the pieces that are as large as a character and do not touch the picture's edge.

    Smaller pieces with at least `SPECK` of the largest such area are included, as parts of a character.
    """
    sizes = np.bincount(pieces.ravel())
    sizes[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = 0
    places = ndimage.find_objects(pieces)
    sizes[0] = 0
    spans = np.array([0, *(max(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in places)])
    large = (sizes > 0) & (spans >= _SPAN * max(pieces.shape))
    if not large.any():
        return []
    return [int(number) for number in np.flatnonzero(sizes >= max(1, SPECK * sizes[large].max()))]


def _outlined(pieces: NDArray[np.int32], number: int, ink: Gray, near: Gray) -> bool:
    """Return whether a piece has paper on all sides, judged by the contrast along its outline."""
    place = ndimage.find_objects(pieces, number)[number - 1]
    piece = pieces[place] == number
    outline = piece & ~ndimage.binary_erosion(piece, EIGHT)
    return bool(np.mean(near[place][outline] > 0.5 * np.median(ink[place][piece])) > _OUTLINED)


def _mask_extent(mask: Mask) -> tuple[int, int]:
    """Return the height and the width of a mask's bounding box."""
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return rows.stop - rows.start, columns.stop - columns.start


def _within(inner: Mask, outer: Mask) -> bool:
    """Return whether a mask lies in the bounding box of the largest piece of another mask."""
    pieces, _ = ndimage.label(outer, EIGHT)
    largest = int(np.bincount(pieces[outer]).argmax())
    piece = pieces == largest
    box = np.logical_and.outer(piece.any(axis=1), piece.any(axis=0))
    return bool(np.all(box[inner]))


def _width(mask: Mask) -> float:
    """Return the width of the widest stroke: twice the largest distance of a pixel in the mask from the outside."""
    return float(2 * ndimage.distance_transform_edt(np.pad(mask, 1)).max())


def _strokes_on_paper(found: Strokes) -> bool:
    """Return whether most pixels around the strokes are paper.

    Between ruled lines, the paper itself stands out and could be taken for strokes.
    """
    if found.mask.sum() < _SPARSE * math.prod(_mask_extent(found.mask)):
        return False
    rows, columns = (
        slice(max(0, part.start - (part.stop - part.start) // 4), part.stop + (part.stop - part.start) // 4)
        for part in ndimage.find_objects(found.mask.astype(np.int8))[0]
    )
    return bool(np.median(found.ink[rows, columns]) < np.median(found.ink[found.mask]) / 2)


def remove_frames(pieces: NDArray[np.int32], kept: list[int]) -> list[int]:
    """Return the pieces without thin frames around another piece that is as large as a character."""
    places = {number: place for number, place in enumerate(ndimage.find_objects(pieces), 1) if place}
    least = _SPAN * max(pieces.shape)
    large = [one for one in kept if max(part.stop - part.start for part in places[one]) >= least]
    frames = {
        outer
        for outer in large
        if np.mean(pieces[places[outer]] == outer) < _FRAME
        and any(_surrounds(places[outer], places[inner]) for inner in large)
    }
    return [number for number in kept if number not in frames]


def _surrounds(outer: tuple[slice, ...], inner: tuple[slice, ...]) -> bool:
    """Return whether the bounding box `inner` lies within `outer`, without touching any of its sides."""
    return all(out.start < part.start and part.stop < out.stop for out, part in zip(outer, inner, strict=True))


def touches_edge(mask: Mask) -> bool:
    """Return whether a mask reaches the picture's edge."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def stroke_like(mask: Mask) -> bool:
    """Return whether strokes are as wide as those of a character, and not too long.

    A shadow's corner is wider. The edge of a sheet or of a shadow is narrower.
    """
    return _THIN < relative_width(mask) < THICK and max(_mask_extent(mask)) < _LONG * min(_mask_extent(mask))


def relative_width(mask: Mask) -> float:
    """Return the width of the widest stroke, as a fraction of the longer side of the bounding box."""
    return _width(mask) / max(_mask_extent(mask))


def has_many_pieces(mask: Mask) -> bool:
    """Return whether a mask has more pieces than a character."""
    return int(ndimage.label(mask, EIGHT)[1]) > _PIECES


def side_by_side(mask: Mask) -> bool:
    """Return whether two pieces of about the same height are side by side, as in a number of two digits."""
    pieces, _ = ndimage.label(mask, EIGHT)
    height = _mask_extent(mask)[0]
    tall = [columns for rows, columns in ndimage.find_objects(pieces) if rows.stop - rows.start >= _TALL * height]
    tall.sort(key=lambda columns: columns.start)
    return any(
        left.stop - right.start < _OVERLAP * min(left.stop - left.start, right.stop - right.start)
        for left, right in itertools.pairwise(tall)
    )
