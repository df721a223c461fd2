"""Mending: in which part of the image the patches lie that mend a model's errors on a label, held against all other labels.

In: the pictures with what explains them. Out: Mendings, tested: where the model is led astray by something that only one label
has, such as dirt, its patches gather in one part.
"""

from collections.abc import Iterator, Sequence
from itertools import starmap

from tasks.analysis.statistics import fisher_p, holm, share_estimate
from tasks.schemas.findings import CorrectionRegion, Patch, Picture

Place = tuple[int, str]  # the label of an image, and where its patch lies


def correction_regions(
    names: Sequence[str], pictures: Sequence[Picture], shape: Sequence[int]
) -> tuple[CorrectionRegion, ...]:
    """Every label and part of the image in which a patch mends an error, of all models; the p-values corrected together."""
    found = [
        one
        for rank, name in enumerate(names)
        for one in _uncorrected_regions(name, list(_places(rank, pictures, shape)))
    ]
    return tuple(starmap(_correcting_patches, zip(found, holm([one.p for one in found]), strict=True)))


def _correcting_patches(one: CorrectionRegion, p: float) -> CorrectionRegion:
    """The same with its p-value corrected."""
    return one.model_copy(update={"p": p})


def _places(rank: int, pictures: Sequence[Picture], shape: Sequence[int]) -> Iterator[Place]:
    """The label and the place of every patch of one model."""
    for picture in pictures:
        explanation = picture.answers[rank].explanation
        if explanation and explanation.patch:
            yield picture.label, place_of(explanation.patch, shape)


def _uncorrected_regions(model: str, found: Sequence[Place]) -> Iterator[CorrectionRegion]:
    """One model's, their p-values not yet corrected."""
    for label, place in sorted(set(found)):
        of_label = [where for which, where in found if which == label]
        of_others = [where for which, where in found if which != label]
        here, elsewhere = (share_estimate(of.count(place), len(of)) for of in (of_label, of_others))
        yield CorrectionRegion(
            model=model, label=label, place=place, here=here, elsewhere=elsewhere, p=fisher_p(here, elsewhere)
        )


def place_of(patch: Patch, shape: Sequence[int]) -> str:
    """Where the middle of a patch lies, in thirds of the image."""
    rows, columns = shape[:2]
    vertical = ("top", "", "bottom")[min(2, int(3 * (patch.row + patch.edge / 2) / rows))]
    horizontal = ("left", "", "right")[min(2, int(3 * (patch.column + patch.edge / 2) / columns))]
    return f"{vertical} {horizontal}".strip() or "middle"
