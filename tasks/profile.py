"""Profile: what the data holds, before anything is learned from it.

In: the splits' records. Out: a Profile: counts by label, exact duplicates within and between the splits, and images that
stand under more than one label.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tasks.files import verified
from tasks.records import DuplicateSet, Profile, SplitRecord
from tasks.split import Split, read_split
from tasks.step import step
from tasks.workspace import Workspace

EXAMPLES = 12  # sets of duplicates that are named in the record

Place = tuple[str, int, int]  # split, index, label


@step("profile", libraries=("numpy", "pyarrow"))
def profile(train: SplitRecord, test: SplitRecord, work: Workspace) -> Profile:
    """Profile both splits.

    Raises:
        StorageError: a split's file is gone or altered.
    """
    splits = [read_split(verified(work.root, record.file)) for record in (train, test)]
    return profile_of(splits)


def profile_of(splits: Iterable[Split]) -> Profile:
    """Count labels and duplicates in splits that are in memory."""
    places: dict[bytes, list[Place]] = defaultdict(list)
    counts: dict[str, tuple[int, ...]] = {}
    distinct: dict[str, int] = {}
    for split in splits:
        name, classes = split.meta.name, len(split.meta.classes)
        counts[name] = tuple(np.bincount(split.labels, minlength=classes).tolist())
        distinct[name] = len(set(split.sha256))
        for index, (digest, label) in enumerate(zip(split.sha256, split.labels.tolist(), strict=True)):
            places[digest].append((name, index, label))
    repeated = {digest: found for digest, found in places.items() if len(found) > 1}
    return Profile(
        counts=counts,
        duplicates_within={name: sum(counts[name]) - distinct[name] for name in counts},
        duplicates_between=sum(len({split for split, _, _ in found}) > 1 for found in repeated.values()),
        label_conflicts=sum(len({label for _, _, label in found}) > 1 for found in repeated.values()),
        examples=tuple(
            DuplicateSet(sha256=digest.hex(), places=tuple(found))
            for digest, found in list(repeated.items())[:EXAMPLES]
        ),
    )
