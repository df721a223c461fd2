"""Strokes: what is drawn on paper that is not lit or colored evenly, or not the only thing in the picture.

In: gray levels. Out: how far each pixel is from the paper around it, and which pixels are strokes. A desk, a shadow and
the edge of a sheet are wider than a stroke, and reach the picture's edge; lines of paper reach it too, and are thinner.
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

EIGHT = np.ones((3, 3), bool)  # pixels that touch by a corner belong together
_REACH = 6  # the width of the widest stroke, as a part of the picture's longer side
_DARK = 60  # of 255: below this level, what is how much darker can't be told from noise
_SPAN = 0.08  # of the picture's longer side: what is smaller is no character
_THICKEST = 4  # half the width in pixels of the thickest line that is taken off
_EDGE = 7  # pixels within which a stroke's level becomes the paper's, in a picture that is not sharp
_OUTLINED = 0.82  # of its outline: what is steep there to this extent is a stroke, and not a piece of a shadow
_SPARSE = 0.02  # of the bounding box: what fills less of it is not one character
_FRAME = 0.1  # of the bounding box: a frame fills less of it
_TALL = 0.6  # of the height of all: a piece that is less tall is a part of a character
_OVERLAP = 0.2  # of the narrower piece's width
_THIN, THICK = 0.03, 0.33  # a stroke's width, of the longer side of a character
_LONG = 7  # times as long as wide: what is longer and stands upright may be an edge, and not a 1
_PIECES = 4  # that a character may be in, where strokes are faint
SPECK = 0.05  # of the largest piece's area: what is smaller is dirt


class Strokes(NamedTuple):
    """What stands out from the paper around it: `ink` from 0 to 255, `mask` where it is a stroke."""

    ink: Gray
    mask: Mask


def threshold(ink: Gray) -> float:
    """What parts ink from paper: the level with the largest variance between the two (N. Otsu, 1979)."""
    counts, edges = np.histogram(ink, 256)
    levels = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * levels)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nan_to_num(between).argmax()])


def strokes(levels: Gray) -> Strokes | None:
    """The strokes of one character, dark on light or light on dark: not the gaps between strokes, which stand out as well."""
    size = max(3, max(levels.shape) // _REACH)
    above = np.maximum(ndimage.grey_closing(levels, (size, size), mode="nearest"), _DARK)
    below = ndimage.grey_opening(levels, (size, size), mode="nearest")
    near = ndimage.maximum_filter(levels, _EDGE) - ndimage.minimum_filter(levels, _EDGE)
    dark = _stroked(255 * np.maximum(1 - levels / above, 0), 255 * near / above)  # paper in a shadow has less contrast
    light = _stroked(levels - below, near)
    dark, light = (one if one and _strokes_on_paper(one) else None for one in (dark, light))
    if dark and light:
        # Of a ring, both the stroke and the hole stand out from what is around them; the hole is wider.
        return light if _within(dark.mask, light.mask) and _width(light.mask) < _width(dark.mask) else dark
    return dark or light


def _stroked(ink: Gray, near: Gray) -> Strokes | None:
    """The strokes in what stands out, without what reaches the picture's edge; `near` is the range of levels around a pixel."""
    if np.ptp(ink) < CONTRAST:
        return None
    mask = ink > max(threshold(ink), CONTRAST)
    for half in range(_THICKEST + 1):
        pieces, count = ndimage.label(_open_mask(mask, half), EIGHT)
        kept = [number for number in _characters(pieces) if _outlined(pieces, number, ink, near)] if count else []
        kept = unframed(pieces, kept)
        if kept:
            # Of lines that were cut up, dashes are left, which are as thin as the lines were.
            thick = {*np.unique(pieces[_open_mask(mask, half + 1)])}
            found = np.isin(pieces, [number for number in kept if number in thick or not half])
            if half:
                found = mask & ndimage.binary_dilation(found, _square(half + 1))
            if found.any():
                return Strokes(ink, found)
    return None


def _square(half: int) -> Mask:
    """A square with a center."""
    return np.ones((2 * half + 1, 2 * half + 1), bool)


def _open_mask(mask: Mask, half: int) -> Mask:
    """A mask without what is at most `2 * half` pixels thick."""
    return ndimage.binary_opening(mask, _square(half)) if half else mask


def _characters(pieces: NDArray[np.int32]) -> list[int]:
    """The pieces that are as large as a character and away from the picture's edge, and those near them in size."""
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
    """Whether a piece has paper on all its sides."""
    place = ndimage.find_objects(pieces, number)[number - 1]
    piece = pieces[place] == number
    outline = piece & ~ndimage.binary_erosion(piece, EIGHT)
    return bool(np.mean(near[place][outline] > 0.5 * np.median(ink[place][piece])) > _OUTLINED)


def _mask_extent(mask: Mask) -> tuple[int, int]:
    """The height and the width of a mask's bounding box."""
    rows, columns = ndimage.find_objects(mask.astype(np.int8))[0]
    return rows.stop - rows.start, columns.stop - columns.start


def _within(inner: Mask, outer: Mask) -> bool:
    """Whether a mask lies in the bounding box of the largest piece of another."""
    pieces, _ = ndimage.label(outer, EIGHT)
    largest = int(np.bincount(pieces[outer]).argmax())
    return bool(np.all(_boxed(pieces == largest)[inner]))


def _width(mask: Mask) -> float:
    """Twice the largest distance of a pixel in a mask from what is outside."""
    return float(2 * ndimage.distance_transform_edt(np.pad(mask, 1)).max())


def _boxed(mask: Mask) -> Mask:
    """The bounding box of a mask, as a mask."""
    return np.logical_and.outer(mask.any(axis=1), mask.any(axis=0))


def _strokes_on_paper(found: Strokes) -> bool:
    """Whether most of what lies around strokes is paper: between lines of paper, the paper itself stands out."""
    if found.mask.sum() < _SPARSE * math.prod(_mask_extent(found.mask)):
        return False
    rows, columns = (
        slice(max(0, part.start - (part.stop - part.start) // 4), part.stop + (part.stop - part.start) // 4)
        for part in ndimage.find_objects(found.mask.astype(np.int8))[0]
    )
    return bool(np.median(found.ink[rows, columns]) < np.median(found.ink[found.mask]) / 2)


def unframed(pieces: NDArray[np.int32], kept: list[int]) -> list[int]:
    """The pieces without those that are a thin frame around another one, which is as large as a character."""
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
    """Whether a bounding box lies within another, and touches none of its sides."""
    return all(out.start < part.start and part.stop < out.stop for out, part in zip(outer, inner, strict=True))


def touches_edge(mask: Mask) -> bool:
    """Whether a mask reaches the picture's edge."""
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def stroke_like(mask: Mask) -> bool:
    """Whether strokes are as wide as a character's: a shadow's corner is wider, the edge of a sheet or of a shadow narrower."""
    return _THIN < relative_width(mask) < THICK and max(_mask_extent(mask)) < _LONG * min(_mask_extent(mask))


def relative_width(mask: Mask) -> float:
    """The width of the widest stroke, as a part of the longer side of all."""
    return _width(mask) / max(_mask_extent(mask))


def scattered(mask: Mask) -> bool:
    """Whether a mask is in more pieces than a character."""
    return int(ndimage.label(mask, EIGHT)[1]) > _PIECES


def side_by_side(mask: Mask) -> bool:
    """Whether there are two pieces of about the same height beside each other, as in a number of two digits."""
    pieces, _ = ndimage.label(mask, EIGHT)
    height = _mask_extent(mask)[0]
    tall = [columns for rows, columns in ndimage.find_objects(pieces) if rows.stop - rows.start >= _TALL * height]
    tall.sort(key=lambda columns: columns.start)
    return any(
        left.stop - right.start < _OVERLAP * min(left.stop - left.start, right.stop - right.start)
        for left, right in itertools.pairwise(tall)
    )
