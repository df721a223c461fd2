"""Corrupt test images in eight ways, each at five severities.

Images have shape (n, rows, columns) uint8, with light ink on a dark background, or (n, rows, columns, 3) in color.
Below, a pixel means 1/28 of the shorter side, which is one pixel of an MNIST image.
The corruptions follow Mu and Gilmer 2019, "MNIST-C: a robustness benchmark for computer vision", but are computed here
instead of read from its files.
"""
# ruff: noqa: PLC0415  # only a worker that corrupts imports SciPy

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasks.images.augment import add_strokes, affine, resample
from tasks.images.encoding import Images, encode_pixels

SEVERITIES = (1, 2, 3, 4, 5)
# With 40 corrupted forms of each image, an accuracy of 95 % is known to within one percentage point, and a small
# network needs 10 s.
IMAGES = 2_500

Corrupt = Callable[[Images, int, np.random.Generator], Images]


def _to_unit(images: Images) -> float:
    """Return 1/28 of the shorter side, in pixels."""
    return float(min(images.shape[1:3])) / 28


def _shift(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Shift images by 1.5 pixels per severity, in a random direction."""
    n, size = len(images), (images.shape[1], images.shape[2])
    way, far = draws.uniform(0, 2 * np.pi, n), 1.5 * severity * _to_unit(images)
    one, none = np.ones(n), np.zeros(n)
    return resample(images, affine(size, (one, none, far * np.sin(way)), (none, one, far * np.cos(way))))


def _rotation(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Rotate images by 12 degrees per severity, to a random side."""
    n, size = len(images), (images.shape[1], images.shape[2])
    turn = np.radians(12 * severity) * draws.choice([-1, 1], n)
    none = np.zeros(n)
    return resample(images, affine(size, (np.cos(turn), np.sin(turn), none), (-np.sin(turn), np.cos(turn), none)))


def _blur(images: Images, severity: int, draws: np.random.Generator) -> Images:  # noqa: ARG001  # signature of Corrupt
    """Blur images by a Gaussian of half a pixel per severity."""
    from scipy import ndimage

    width = 0.5 * severity * _to_unit(images)
    return np.asarray(ndimage.gaussian_filter(images, (0, width, width, *[0] * (images.ndim - 3))))


def _noise(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Add Gaussian noise with a standard deviation of 12 % of white per severity."""
    noisy = images + 0.12 * 255 * severity * draws.standard_normal(images.shape, np.float32)
    return np.asarray(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def _stripe(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Draw a white line through the middle half of each image, in a random direction.

    The line is 0.8 pixels wide per severity.
    """
    n, (rows, columns) = len(images), images.shape[1:3]
    row, column = draws.uniform(rows / 4, rows * 3 / 4, n), draws.uniform(columns / 4, columns * 3 / 4, n)
    everywhere, width = np.full(n, rows + columns, float), np.full(n, 0.8 * severity * _to_unit(images))
    return add_strokes(images, row, column, draws.uniform(0, np.pi, n), everywhere, width, np.full(n, 255.0))


def _occlusion(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Draw a black square of 2 + 2 * severity pixels, centered in the middle half of each image."""
    edge, (rows, columns) = round((2 + 2 * severity) * _to_unit(images)), images.shape[1:3]
    top = np.rint(draws.uniform(rows / 4, rows * 3 / 4, len(images)) - edge / 2)[:, None, None]
    left = np.rint(draws.uniform(columns / 4, columns * 3 / 4, len(images)) - edge / 2)[:, None, None]
    y, x = np.indices((rows, columns))
    covered = (y >= top) & (y < top + edge) & (x >= left) & (x < left + edge)
    return np.where(covered.reshape(*covered.shape, *[1] * (images.ndim - 3)), np.uint8(0), images)


def _dirt(images: Images, severity: int, draws: np.random.Generator) -> Images:
    """Draw two specks of 1 to 3 pixels per severity, at random positions."""
    n, (rows, columns) = len(images), images.shape[1:3]
    for _ in range(2 * severity):
        row, column = draws.uniform(0, rows - 1, n), draws.uniform(0, columns - 1, n)
        length, width = draws.uniform(0, 2, n) * _to_unit(images), draws.uniform(1, 3, n) * _to_unit(images)
        turn, ink = draws.uniform(0, np.pi, n), draws.uniform(100, 255, n)
        images = add_strokes(images, row, column, turn, length, width, ink)
    return images


def _inversion(images: Images, severity: int, draws: np.random.Generator) -> Images:  # noqa: ARG001  # as Corrupt
    """Blend images with their negatives, by a fifth per severity.

    An equal blend would be uniformly gray; severity 5 is the negative.
    """
    share = severity / 5
    return np.rint(images * (1 - share) + (255.0 - images) * share).astype(np.uint8)


CORRUPTIONS: dict[str, Corrupt] = {
    "shift": _shift,
    "rotation": _rotation,
    "blur": _blur,
    "noise": _noise,
    "stripe": _stripe,
    "occlusion": _occlusion,
    "dirt": _dirt,
    "inversion": _inversion,
}


def corrupt(images: Images, kind: str, severity: int) -> Images:
    """Corrupt images in one way, with the same random numbers in each call."""
    draws = np.random.default_rng((list(CORRUPTIONS).index(kind), severity))
    return CORRUPTIONS[kind](images, severity, draws)


def sample_indices(count: int) -> NDArray[np.intp]:
    """Return which of `count` images to corrupt: the same for all models, in ascending order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:IMAGES])


def corruption_examples(image: Images) -> dict[str, tuple[str, ...]]:
    """Return all corrupted forms of one image, (1, rows, columns[, 3]), in base64, by kind."""
    return {kind: tuple(encode_pixels(corrupt(image, kind, one)[0]) for one in SEVERITIES) for kind in CORRUPTIONS}
