"""Augment training images at random, as a recipe specifies.

Images have shape (n, rows, columns) uint8, with light ink on a dark background, or (n, rows, columns, 3) in color. All
movements of an image are combined and interpolated once.
Elastic distortion follows Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied
to visual document analysis", section 2.
"""
# ruff: noqa: PLC0415  # only a worker that augments imports SciPy

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.config.augmentation import Augmentation, BarSettings, SpeckSettings
from tasks.images.encoding import INK, Images

Draws = NDArray[np.float64]

# The Gaussian that smooths the elastic noise has 1/7 of the longer side as its width: 4 pixels for MNIST, as in Simard.
_SMOOTH = 7


def augment(images: Images, labels: NDArray[np.integer], plan: Augmentation, draws: np.random.Generator) -> Images:
    """Return images altered as planned, with random numbers from `draws`."""
    if plan.bars:
        images = _add_bars(images, labels, plan.bars, draws)
    if plan.specks:
        images = _add_specks(images, plan.specks, draws)
    return resample(images, _sources(images.shape, plan, draws)) if plan.moves else images


def _add_bars(images: Images, labels: NDArray[np.integer], bars: BarSettings, draws: np.random.Generator) -> Images:
    """Draw a bar across the middle of the stem in some images of one label."""
    inked_at_all = np.asarray(_to_gray(images) >= INK).any(axis=(1, 2))
    chosen = np.flatnonzero((labels == bars.label) & (draws.random(len(labels)) < bars.share) & inked_at_all)
    ink = np.asarray(_to_gray(images[chosen]) >= INK)
    inked = np.asarray(ink.any(axis=2))
    n, rows = len(chosen), images.shape[1]
    top, bottom = inked.argmax(axis=1), rows - inked[:, ::-1].argmax(axis=1)
    height = bottom - top
    row = np.clip(top + height * draws.uniform(0.4, 0.65, n), 0, rows - 1)
    line = ink[np.arange(n), row.astype(np.intp)]
    middle = (line @ np.arange(line.shape[1])) / np.maximum(line.sum(axis=1), 1)
    column = np.where(line.any(axis=1), middle, line.shape[1] / 2)
    length, width = height * draws.uniform(0.15, 0.3, n), height * draws.uniform(0.05, 0.12, n)
    turn = np.radians(draws.uniform(-20, 20, n))
    whole = images.copy()
    whole[chosen] = add_strokes(images[chosen], row, column, turn, length, width, draws.uniform(150, 255, n))
    return whole


def _add_specks(images: Images, specks: SpeckSettings, draws: np.random.Generator) -> Images:
    """Draw specks in some images."""
    counts = draws.integers(1, specks.most + 1, len(images)) * (draws.random(len(images)) < specks.share)
    side = min(images.shape[1:3])
    whole = images.copy()
    for number in range(specks.most):
        some = np.flatnonzero(counts > number)
        n = len(some)
        row, column = (draws.uniform(0, size - 1, n) for size in images.shape[1:3])
        length, width = side * draws.uniform(0, 0.08, n), side * draws.uniform(0.03, 0.1, n)
        turn = draws.uniform(0, np.pi, n)
        whole[some] = add_strokes(whole[some], row, column, turn, length, width, draws.uniform(60, 255, n))
    return whole


def add_strokes(
    images: Images, row: Draws, column: Draws, turn: Draws, length: Draws, width: Draws, ink: Draws
) -> Images:
    """Draw one straight stroke with soft edges into each image.

    Args:
        images: Images to draw on; they are not modified.
        row: Rows of the strokes' centers, (n,).
        column: Columns of the strokes' centers, (n,).
        turn: Angles in radians, (n,).
        length: Lengths from the center in either direction in pixels, (n,).
        width: Widths in pixels, (n,).
        ink: Gray levels of the strokes, (n,).
    """
    down, across = np.indices(images.shape[1:3])
    y, x = down - row[:, None, None], across - column[:, None, None]
    sine, cosine = np.sin(turn)[:, None, None], np.cos(turn)[:, None, None]
    beyond = np.maximum(np.abs(x * cosine + y * sine) - length[:, None, None], 0)
    away = np.hypot(beyond, y * cosine - x * sine)
    covered = np.clip(width[:, None, None] / 2 + 0.5 - away, 0, 1) * ink[:, None, None]
    return np.maximum(images, np.rint(covered).astype(np.uint8).reshape(*covered.shape, *[1] * (images.ndim - 3)))


def resample(images: Images, places: NDArray[np.float32]) -> Images:
    """Return images whose pixels are interpolated at other positions, (2, n, rows, columns).

    Positions beyond the border take the value at the border.
    """
    from scipy import ndimage

    n, rows, columns = images.shape[:3]
    # All images are stacked vertically for a single call per channel. Positions are clipped, because a position outside
    # of an image would lie in the next image.
    down = np.clip(places[0], 0, rows - 1) + (np.arange(n, dtype=np.float32) * rows)[:, None, None]
    at = np.stack([down, np.clip(places[1], 0, columns - 1)])
    channels = images.reshape(n * rows, columns, -1)
    found = [
        ndimage.map_coordinates(channels[..., channel], at, np.float32, order=1)
        for channel in range(channels.shape[-1])
    ]
    return np.asarray(np.rint(np.stack(found, axis=-1)).astype(np.uint8).reshape(images.shape))


def _sources(shape: tuple[int, ...], plan: Augmentation, draws: np.random.Generator) -> NDArray[np.float32]:
    """Return the position that each pixel of each image comes from: rows and columns, (2, n, rows, columns)."""
    n, rows, columns = shape[:3]

    def within(most: float) -> Draws:
        return draws.uniform(-most, most, n)

    turn, slant = np.radians(within(plan.rotation)), np.tan(np.radians(within(plan.shear)))
    high, wide = 1 + within(plan.scale), 1 + within(plan.scale)
    sine, cosine = np.sin(turn), np.cos(turn)
    places = affine(
        (rows, columns),
        (cosine / high, sine / high, within(plan.shift)),
        ((slant * cosine - sine) / wide, (cosine + slant * sine) / wide, within(plan.shift)),
    )
    if plan.elastic:
        noise = draws.standard_normal(places.shape, np.float32)
        width = max(rows, columns) / _SMOOTH
        places += plan.elastic * (smoothing(rows, width) @ noise @ smoothing(columns, width).T)
    return places


def affine(
    size: tuple[int, int], down: tuple[Draws, Draws, Draws], across: tuple[Draws, Draws, Draws]
) -> NDArray[np.float32]:
    """Return positions as an affine function of the rows and columns relative to the center: (2, n, rows, columns).

    `down` (for the rows) and `across` (for the columns) hold, for each image, the factor of the row, the factor of the
    column, and the offset in pixels.
    """
    rows, columns = size
    y, x = np.arange(rows) - (rows - 1) / 2, np.arange(columns) - (columns - 1) / 2
    planes = [
        (by_row[:, None] * y + (start + center)[:, None])[:, :, None] + (by_column[:, None] * x)[:, None, :]
        for (by_row, by_column, start), center in ((down, (rows - 1) / 2), (across, (columns - 1) / 2))
    ]
    return np.asarray(np.stack(planes), np.float32)


@cache
def smoothing(size: int, width: float) -> NDArray[np.float32]:
    """Return the weights of a Gaussian around each position of a line, (size, size).

    The weights preserve the standard deviation of white noise.
    """
    at = np.arange(size)
    weights = np.exp(-(((at[:, None] - at) / width) ** 2) / 2)
    return np.asarray(weights / np.sqrt((weights**2).sum(axis=1, keepdims=True)), np.float32)


def _to_gray(images: Images) -> Images:
    """Return images in gray, (n, rows, columns), with the brightest channel of each color pixel."""
    return images if images.ndim == 3 else images.max(axis=3)
