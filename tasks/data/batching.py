"""Read the training images of a split in batches, in a different random order for each epoch.

The order depends only on the seed, the epoch and the split, so an interrupted training can resume. Memory use does
not depend on the number of images: a split that is larger than a window is read window by window, each made of randomly
chosen row groups whose images are shuffled together.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.split_parquet import Labels, groups_of, label_type, read_groups

WINDOW_BYTES = 256 << 20  # of pixels that are shuffled together; five times the size of MNIST

Block = tuple[NDArray[np.uint8], Labels]  # images (n, *shape), labels (n,)
Places = NDArray[np.intp]


class BatchStream:
    """Batches of the images of a split, without the held-out images.

    Images have the shape `shape` and labels one of `classes` values. `held_out` holds the positions of the held-out
    images, and `batch` is the number of images per batch.
    """

    def __init__(
        self, paths: Sequence[Path], shape: tuple[int, ...], classes: int, held_out: Places, batch: int, seed: int
    ) -> None:
        self.paths, self.shape, self.batch, self.seed = paths, shape, batch, seed
        sizes = [group.rows for group in groups_of(paths)]
        self.ends = np.cumsum(sizes)
        self.learned = np.ones(sum(sizes), bool)
        self.learned[held_out] = False
        self.count = int(self.learned.sum())
        self.steps = -(-self.count // batch)  # batches per epoch
        self.groups_at_once = max(1, WINDOW_BYTES // (math.prod(shape) * max(sizes, default=1)))
        rows = min(sum(sizes), self.groups_at_once * max(sizes, default=0))
        self.window = np.empty((rows, *shape), np.uint8), np.empty(rows, label_type(classes))
        self.all_is_read = False

    def epoch(self, epoch: int) -> Iterator[Block]:
        """Yield the batches of one epoch; only the last one may be smaller."""
        parts: list[Block] = []
        missing = self.batch
        for (images, labels), order in self.windows(epoch):
            at = 0
            while at < len(order):
                some = order[at : at + missing]
                at, missing = at + len(some), missing - len(some)
                parts.append((images[some], labels[some]))
                if not missing:
                    yield _join_blocks(parts)
                    parts, missing = [], self.batch
        if parts:
            yield _join_blocks(parts)

    def windows(self, epoch: int) -> Iterator[tuple[Block, Places]]:
        """Yield the blocks that are in memory at a time, each with the random order of its training images."""
        groups = np.random.default_rng((self.seed, epoch, len(self.ends))).permutation(len(self.ends))
        within = np.random.default_rng((self.seed, epoch))
        for start in range(0, len(groups), self.groups_at_once):
            window = np.sort(groups[start : start + self.groups_at_once])
            kept = np.flatnonzero(np.concatenate([self.learned[self.rows(group)] for group in window]))
            yield self.read(window), kept[within.permutation(len(kept))]

    def read(self, groups: NDArray[np.intp]) -> Block:
        """Read row groups into the window, in place of the previous ones.

        If the window holds the whole split, the split is read only once.
        """
        images, labels = self.window
        if self.all_is_read:
            return self.window
        end = 0
        for split in read_groups(self.paths, groups.tolist()):
            start, end = end, end + len(split.labels)
            images[start:end], labels[start:end] = split.images, split.labels
        self.all_is_read = len(groups) == len(self.ends)
        return images[:end], labels[:end]

    def held_out(self) -> Iterator[Block]:
        """Yield the held-out images and labels, one row group at a time."""
        for group, split in enumerate(read_groups(self.paths)):
            out = ~self.learned[self.rows(group)]
            if out.any():
                yield split.images[out], split.labels[out]

    def rows(self, group: int) -> slice:
        """Return the positions in the split that a row group covers."""
        return slice(int(self.ends[group - 1]) if group else 0, int(self.ends[group]))


def _join_blocks(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    images, labels = zip(*blocks, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def held_out_indices(count: int, held_out: int, seed: int) -> tuple[Places, Places]:
    """Choose at random which of `count` images are held out.

    Returns:
        The indices of the training images and those of the held-out images, both in ascending order.

    Examples:
        >>> train, held_out = held_out_indices(6, 2, seed=1)
        >>> train.tolist(), held_out.tolist()
        ([1, 2, 3, 5], [0, 4])
    """
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
