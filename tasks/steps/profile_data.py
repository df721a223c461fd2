"""Profile the data before any training.

The profile counts the images of each label, exact duplicates within and between the splits, and images that occur with
more than one label.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.data.split_parquet import Hashes, SplitIndex, read_index
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import DuplicateSet, Profile, SplitRecord
from tasks.storage.content_files import require_all_valid

_EXAMPLES = 12  # sets of duplicates that the record lists
_PLACES = 12  # images that the record lists of each set

Numbers = NDArray[np.intp]


@step("profile", libraries=("numpy", "pyarrow"))
def profile(train: SplitRecord, test: SplitRecord, work: Workspace) -> Profile:
    """Profile both splits.

    Raises:
        StorageError: If a split's file is missing or altered.
    """
    return profile_of([read_index(require_all_valid(work.root, record.parts)) for record in (train, test)])


def profile_of(splits: Sequence[SplitIndex]) -> Profile:
    """Return the label and duplicate counts of splits; this takes about 100 bytes of memory per image."""
    labels, hashes = (np.concatenate([getattr(split, what) for split in splits]) for what in ("labels", "sha256"))
    of_split = np.repeat(np.arange(len(splits)), [len(split.labels) for split in splits])
    order, kinds = _alike(hashes)
    repeated = np.bincount(kinds)[kinds] > 1
    order, kinds = order[repeated], kinds[repeated]
    within = (kinds[of_split[order] == number] for number in range(len(splits)))
    return Profile(
        counts={
            split.meta.name: tuple(np.bincount(split.labels, minlength=len(split.meta.classes)).tolist())
            for split in splits
        },
        duplicates_within={
            split.meta.name: len(of) - len(np.unique(of)) for split, of in zip(splits, within, strict=True)
        },
        duplicates_between=_places_of_duplicates(kinds, of_split[order]),
        label_conflicts=_places_of_duplicates(kinds, labels[order]),
        examples=tuple(_duplicate_examples(splits, order, kinds)),
    )


def _alike(hashes: Hashes) -> tuple[Numbers, Numbers]:
    """Group images by the hash of their bytes.

    Returns:
        An order of all images in which images with the same hash are adjacent, (N,), and the number of the group of
        each image in this order, (N,).
    """
    words = hashes.view(np.uint64).reshape(-1, 4)
    order = np.lexsort(words.T)
    differs = np.any(words[order[1:]] != words[order[:-1]], axis=1)
    return order, np.concatenate([[0], np.cumsum(differs)]).astype(np.intp)


def _places_of_duplicates(kinds: Numbers, values: NDArray[np.integer]) -> int:
    """Return the number of groups that have more than one value."""
    base = int(values.max(initial=0)) + 1
    pairs = np.unique(kinds * base + values)  # each distinct pair of a group and a value, as one number
    return int((np.bincount(pairs // base) > 1).sum())


def _duplicate_examples(splits: Sequence[SplitIndex], order: Numbers, kinds: Numbers) -> Iterator[DuplicateSet]:
    """Yield the first few sets of duplicates, ordered by the position of the first image of each set."""
    starts = np.cumsum([0, *(len(split.labels) for split in splits)])
    firsts = order[np.flatnonzero(np.diff(kinds, prepend=-1))]
    for first in np.sort(firsts)[:_EXAMPLES].tolist():
        (at,) = np.flatnonzero(order == first)
        places = []
        for place in order[kinds == kinds[at]][:_PLACES].tolist():
            number = int(np.searchsorted(starts, place, side="right")) - 1
            split, index = splits[number], place - int(starts[number])
            places.append((split.meta.name, int(split.indices[index]), int(split.labels[index])))
            digest = split.sha256[index].tobytes().hex()
        yield DuplicateSet(sha256=digest, places=tuple(places))
