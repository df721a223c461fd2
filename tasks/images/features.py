"""Measure features of images without labels and models.

Images have shape (N, rows, columns) uint8, with light ink on a dark background, or (N, rows, columns, 3) in color. The
result is a data frame with one row per image.
Stroke features follow Castro et al. 2019, "Morpho-MNIST: quantitative assessment and diagnostics for representation
learning", JMLR 20 (178).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from tasks.images.encoding import INK

BYTES_AT_ONCE = 16 << 20


def features_of(blocks: Iterable[NDArray[np.uint8]]) -> pd.DataFrame:
    """Return the features of images in blocks, as `features` does, for images that do not fit into memory together."""
    return pd.concat([features(images) for images in blocks], ignore_index=True)


def features(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Return the features of every image: of its strokes in gray, (N, rows, columns), or of its light in color."""
    measure = _light if images.ndim == 4 else _strokes
    # Intermediate results take tens of bytes per pixel.
    parts = np.array_split(images, max(1, -(-images.nbytes // BYTES_AT_ONCE)))
    return pd.concat([measure(part) for part in parts], ignore_index=True)


def _light(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Return the brightness, its standard deviation within each image, and the mean saturation, in % of the maximum."""
    gray = images.mean(axis=3)
    most, least = images.max(axis=3).astype(np.float64), images.min(axis=3).astype(np.float64)
    return pd.DataFrame(
        {
            "brightness": gray.mean(axis=(1, 2)) / 255 * 100,
            "contrast": gray.std(axis=(1, 2)) / 127.5 * 100,
            "saturation": ((most - least) / np.maximum(most, 1)).mean(axis=(1, 2)) * 100,
        }
    )


def _strokes(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Return the ink, the width and slant of strokes, and the extent and number of pieces of the ink.

    A black image has 0 in all columns.
    """
    ink = images >= INK
    return pd.DataFrame(
        {
            "ink": images.mean(axis=(1, 2)) / 255 * 100,
            "stroke width": _stroke_width(ink),
            "slant": _slant(images),
            "height": _extent(np.any(ink, axis=2)),
            "width": _extent(np.any(ink, axis=1)),
            "components": _components(ink),
        }
    )


def _extent(lines: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of lines from the first to the last one with ink; `lines` is (N, lines) bool."""
    first, last = lines.argmax(axis=1), lines.shape[1] - lines[:, ::-1].argmax(axis=1)
    return np.where(lines.any(axis=1), last - first, 0)


def _stroke_width(ink: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean stroke width in pixels, (N,).

    In a long stroke of width w, the mean distance of a point from the edge is w / 4. Distances between pixel centers
    are half a pixel longer.
    """
    # All images are stacked vertically for a single call, with an empty row and column around each. Distances are
    # computed for ink pixels only.
    padded = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    column = padded.reshape(-1, padded.shape[2])
    edges = ndimage.distance_transform_edt(column, return_distances=False, return_indices=True)
    at = column.nonzero()
    distances = np.hypot(edges[0][at] - at[0], edges[1][at] - at[1])
    sums = np.bincount(at[0] // padded.shape[1], weights=distances, minlength=len(ink))
    area = padded.sum(axis=(1, 2))
    return np.where(area > 0, 4 * sums / np.maximum(area, 1) - 2, 0.0)


def _slant(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the slant to the right in degrees, (N,).

    The slant is the shear that the second moments of the ink indicate, as in Morpho-MNIST.
    """
    weights = images.astype(np.float64)
    mass = np.maximum(weights.sum(axis=(1, 2)), 1)
    rows, columns = np.indices(images.shape[1:])
    y = rows - (weights * rows).sum(axis=(1, 2), keepdims=True) / mass[:, None, None]
    x = columns - (weights * columns).sum(axis=(1, 2), keepdims=True) / mass[:, None, None]
    vertical, mixed = (weights * y * y).sum(axis=(1, 2)), (weights * x * y).sum(axis=(1, 2))
    return np.asarray(np.degrees(np.arctan2(-mixed, np.maximum(vertical, 1e-9))))


def _components(ink: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of connected pieces of ink, (N,); pixels that touch at a corner are connected."""
    within = np.zeros((3, 3, 3), bool)
    within[1] = True  # neighbors are in the same image, not in the next one
    labeled, _ = ndimage.label(ink, within)
    firsts = np.unique(labeled, return_index=True)
    places = firsts[1][firsts[0] > 0] // ink[0].size
    return np.bincount(places, minlength=len(ink))
