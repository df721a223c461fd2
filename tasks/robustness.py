"""Robustness: what a model makes of corrupted images.

In: how many corrupted images each model got right. Out: shares by corruption and severity, their mean, and how models differ in
it. The unit of chance is the image: all its corrupted forms stand or fall together.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from tasks.findings import Estimate, Share
from tasks.records import FileRecord, Frozen, Record


class Stress(Frozen):
    """One model over the same `images`, as they are and corrupted.

    `clean` counts the right answers as they are, `right` those by corruption in the order of severities, and `by_image` in how
    many of its corrupted forms each image was right.
    """

    model: str
    images: int
    clean: int
    right: dict[str, tuple[int, ...]]
    by_image: tuple[int, ...]


class StressRecord(Record):
    """The Stress of one model, as JSON."""

    model: str
    file: FileRecord


class Stressed(Frozen):
    """One model's accuracy on images as they are, by corruption and severity, and its mean over all corrupted forms."""

    model: str
    clean: Share
    right: dict[str, tuple[Share, ...]]
    mean: Estimate


class Gap(Frozen):
    """Two models over the same corrupted images: the second's mean accuracy minus the first's."""

    first: str
    second: str
    difference: Estimate


class Robustness(Frozen):
    """All models on so many `images`, drawn from the test images; `examples` shows one of them in all its forms, in base64."""

    images: int
    examples: dict[str, tuple[str, ...]]
    models: tuple[Stressed, ...]
    gaps: tuple[Gap, ...]


def robustness_of(found: Sequence[Stress], examples: Mapping[str, tuple[str, ...]]) -> Robustness:
    """What the models' counts say."""
    # Who lists runs needs neither, and workers no statistics.
    import numpy as np  # noqa: PLC0415

    from tasks.statistics import mean, share  # noqa: PLC0415

    forms = sum(len(counts) for counts in found[0].right.values())
    shares = {one.model: np.array(one.by_image) / forms for one in found}
    return Robustness(
        images=found[0].images,
        examples=dict(examples),
        models=tuple(
            Stressed(
                model=one.model,
                clean=share(one.clean, one.images),
                right={kind: tuple(share(count, one.images) for count in counts) for kind, counts in one.right.items()},
                mean=mean(shares[one.model]),
            )
            for one in found
        ),
        gaps=tuple(
            Gap(first=first, second=second, difference=mean(shares[second] - shares[first]))
            for first, second in combinations(shares, 2)
        ),
    )
