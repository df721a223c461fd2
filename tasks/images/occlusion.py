"""Find the regions of an image that a prediction depends on, by erasing regions and predicting again.

Results are the smallest square whose erasure corrects a prediction, and a map of the label's probability.
Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from tasks.images.encoding import Images
from tasks.schemas.findings import Patch

Predict = Callable[[Images], NDArray[np.float32]]  # -> (n, classes) probabilities
Progressed = Callable[[int], None]
_Labels = NDArray[np.integer]

_NO_INK = np.zeros(1, np.uint8)
_BYTES_AT_ONCE = 6 << 20  # of image variants that are predicted in one call: 8,000 for MNIST
_FINE = 48  # pixels of the shorter side, up to which every pixel is tried
_PARTS = 16  # smallest squares along the shorter side of a larger image


def heat_window(shape: Sequence[int]) -> int:
    """Return the edge in pixels of the window that is erased around each pixel.

    The edge is odd and about a sixth of the longer side: 5 for MNIST.
    """
    return max(3, max(shape) // 6 // 2 * 2 + 1)


def _smallest_edge(shape: Sequence[int]) -> int:
    """Return the edge of the smallest square to try: one pixel, or more for large images.

    Large images would otherwise need tens of thousands of squares.
    """
    return 1 if min(shape) <= _FINE else min(shape) // _PARTS


def edges(shape: Sequence[int]) -> Iterator[int]:
    """Yield the edges of the squares to try, in pixels: up to half of the shorter side, in increasing steps."""
    edge = _smallest_edge(shape)
    while edge <= min(shape) // 2:
        yield edge
        edge += max(_smallest_edge(shape), edge // 4)


@lru_cache(1)  # the masks of large images take about 10 MB
def square_patches(rows: int, columns: int, edge: int) -> tuple[tuple[tuple[int, int], ...], NDArray[np.bool_]]:
    """Return the squares of one edge, a quarter of the edge apart.

    Returns:
        The top left corners (row, column), and masks (n, rows, columns).
    """
    stride = max(_smallest_edge((rows, columns)), edge // 4)
    corners = tuple(
        (row, column) for row in range(0, rows - edge + 1, stride) for column in range(0, columns - edge + 1, stride)
    )
    masks = np.zeros((len(corners), rows, columns), bool)
    for mask, (row, column) in zip(masks, corners, strict=True):
        mask[row : row + edge, column : column + edge] = True
    return corners, masks


def centers(size: int, edge: int) -> NDArray[np.intp]:
    """Return the positions of windows with this edge along a side: half a window apart, and at both ends."""
    return np.union1d(np.arange(0, size, max(1, edge // 2)), [size - 1])


@cache
def _windows(rows: int, columns: int, edge: int) -> NDArray[np.bool_]:
    """Return masks of the windows with this edge around all centers, cut at the border: (n, rows, columns)."""
    near_row, near_column = (
        np.abs(np.subtract.outer(centers(size, edge), np.arange(size))) <= edge // 2 for size in (rows, columns)
    )
    return (near_row[:, None, :, None] & near_column[None, :, None, :]).reshape(-1, rows, columns)


def between(size: int, edge: int) -> NDArray[np.float64]:
    """Return the weights of linear interpolation from the centers along a side to each of its pixels: (size, n)."""
    at = centers(size, edge)
    return np.stack([np.interp(np.arange(size), at, one) for one in np.eye(len(at))], axis=1)


def blank_of(images: Images) -> NDArray[np.uint8]:
    """Return the value of erased pixels: no ink, or in color the mean of all images.

    The mean is the usual value for photographs.
    """
    return _NO_INK if images.ndim == 3 else np.rint(images.mean(axis=(0, 1, 2))).astype(np.uint8)


def _erase(image: NDArray[np.uint8], masks: NDArray[np.bool_], blank: NDArray[np.uint8]) -> Images:
    """Return one copy of an image for each mask, with the pixels of the mask blank."""
    return np.where(masks[..., None], blank, image.reshape(*masks.shape[1:], -1)).reshape(-1, *image.shape)


def _with_ink(image: NDArray[np.uint8], masks: NDArray[np.bool_], blank: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the indices of the masks that cover ink: erasing blank pixels changes nothing."""
    inked = np.any(image.reshape(*masks.shape[1:], -1) != blank, axis=-1)
    return np.flatnonzero(masks.reshape(len(masks), -1) @ inked.ravel())


def _predicted_each(stacks: Iterable[Images], predict: Predict) -> Iterator[NDArray[np.float32]]:
    """Yield the predictions for each stack of images, (n, classes); many stacks share one call."""
    group: list[Images] = []
    for stack in stacks:
        group.append(stack)
        if sum(one.nbytes for one in group) >= _BYTES_AT_ONCE:
            yield from _predicted_together(group, predict)
            group = []
    if group:
        yield from _predicted_together(group, predict)


def _predicted_together(stacks: Sequence[Images], predict: Predict) -> list[NDArray[np.float32]]:
    """Predict several stacks of images in one call, and return the predictions for each stack."""
    ends = np.cumsum([len(stack) for stack in stacks])
    whole = np.concatenate(stacks)
    return np.split(predict(whole), ends[:-1]) if len(whole) else [np.zeros((0, 1), np.float32) for _ in stacks]


def smallest_correcting_patches(
    images: Images,
    labels: _Labels,
    predict: Predict,
    progressed: Progressed = lambda _: None,
    *,
    blank: NDArray[np.uint8] = _NO_INK,
) -> list[Patch | None]:
    """Return the smallest square for each image whose erasure makes the label the prediction.

    The result is None for an image that no tried square corrects. Of several squares of the same size, the result is
    the one that makes the label most probable. `progressed` is called with the number of sizes tried.
    """
    found: list[Patch | None] = [None] * len(images)
    for tried, edge in enumerate(edges(images.shape[1:3]), start=1):
        corners, masks = square_patches(*images.shape[1:3], edge)
        still = [place for place, patch in enumerate(found) if patch is None]
        kept = {place: _with_ink(images[place], masks, blank) for place in still}
        stacks = (_erase(images[place], masks[kept[place]], blank) for place in still)
        for place, answers in zip(still, _predicted_each(stacks, predict), strict=True):
            label = labels[place]
            corrected = np.flatnonzero(answers.argmax(axis=1) == label)
            if len(corrected):
                best = corrected[answers[corrected, label].argmax()]
                row, column = corners[kept[place][best]]
                found[place] = Patch(row=row, column=column, edge=edge, probability=float(answers[best, label]))
        progressed(tried)
    return found


def occlusion_maps(
    images: Images, labels: _Labels, predict: Predict, *, blank: NDArray[np.uint8] = _NO_INK
) -> NDArray[np.float32]:
    """Return the label's probability with the window around each pixel erased: (n, rows, columns) float32.

    Windows are tried half a window apart, with interpolation in between, since a window blurs finer detail anyway.
    """
    rows, columns = images.shape[1:3]
    edge = heat_window((rows, columns))
    masks = _windows(rows, columns, edge)
    kept = [_with_ink(image, masks, blank) for image in images]
    before = predict(images)[np.arange(len(images)), labels] if len(images) else np.zeros(0, np.float32)
    heat = np.repeat(before[:, None], len(masks), axis=1)
    stacks = (_erase(image, masks[which], blank) for image, which in zip(images, kept, strict=True))
    for place, answers in enumerate(_predicted_each(stacks, predict)):
        if len(answers):
            heat[place, kept[place]] = answers[:, labels[place]]
    down, across = between(rows, edge), between(columns, edge)
    return (down @ heat.reshape(-1, down.shape[1], across.shape[1]) @ across.T).astype(np.float32)
