"""Feed: the images of a split as a training wants them, in batches, in an order drawn anew for each epoch.

In: a split's files, which images are held out, and a seed. Out: blocks of images and labels. The order depends on the seed, the
epoch and the split alone, so that a training can go on where it was. Memory is flat in the number of images: what is larger
than a window is read a window at a time, each of row groups that are drawn, and shuffled within.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.split_parquet import Labels, groups_of, label_type, read_groups

WINDOW_BYTES = 256 << 20  # of pixels that are shuffled together: five times all of MNIST

Block = tuple[NDArray[np.uint8], Labels]  # images (n, *shape), labels (n,)
Places = NDArray[np.intp]


class BatchStream:
    """The images of a split of so many `classes`, of `shape`, but for those that are held out."""

    def __init__(
        self, paths: Sequence[Path], shape: tuple[int, ...], classes: int, held_out: Places, batch: int, seed: int
    ) -> None:
        self.paths, self.shape, self.batch, self.seed = paths, shape, batch, seed
        sizes = [group.rows for group in groups_of(paths)]
        self.ends = np.cumsum(sizes)
        self.learned = np.ones(sum(sizes), bool)
        self.learned[held_out] = False
        self.count = int(self.learned.sum())
        self.steps = -(-self.count // batch)  # in an epoch
        self.groups_at_once = max(1, WINDOW_BYTES // (math.prod(shape) * max(sizes, default=1)))
        rows = min(sum(sizes), self.groups_at_once * max(sizes, default=0))
        self.window = np.empty((rows, *shape), np.uint8), np.empty(rows, label_type(classes))
        self.all_is_read = False

    def epoch(self, epoch: int) -> Iterator[Block]:
        """The batches of one epoch; only the last may be smaller."""
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
        """What is in memory at once, and in which order to take of it what is not held out."""
        groups = np.random.default_rng((self.seed, epoch, len(self.ends))).permutation(len(self.ends))
        within = np.random.default_rng((self.seed, epoch))
        for start in range(0, len(groups), self.groups_at_once):
            window = np.sort(groups[start : start + self.groups_at_once])
            kept = np.flatnonzero(np.concatenate([self.learned[self.rows(group)] for group in window]))
            yield self.read(window), kept[within.permutation(len(kept))]

    def read(self, groups: NDArray[np.intp]) -> Block:
        """Some row groups, in the place of those before them; all of them are read once."""
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
        """What is held out, a row group at a time."""
        for group, split in enumerate(read_groups(self.paths)):
            out = ~self.learned[self.rows(group)]
            if out.any():
                yield split.images[out], split.labels[out]

    def rows(self, group: int) -> slice:
        """The images of a row group, by their places in the split."""
        return slice(int(self.ends[group - 1]) if group else 0, int(self.ends[group]))


def _join_blocks(blocks: list[Block]) -> Block:
    """Blocks as one."""
    if len(blocks) == 1:
        return blocks[0]
    images, labels = zip(*blocks, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def held_out_indices(count: int, held_out: int, seed: int) -> tuple[Places, Places]:
    """Which of `count` images are trained on, and which are held out: a seeded draw, both in ascending order."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
