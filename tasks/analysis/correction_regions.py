"""Find the regions of the image where erasing a patch corrects errors on one label more often than on others.

Such a concentration suggests that the model relies on something that only images of this label have, such as dirt.
"""

from collections.abc import Iterator, Sequence

from tasks.analysis.statistics import fisher_p, holm, share_estimate
from tasks.schemas.findings import CorrectionRegion, Patch, Picture

LabelRegion = tuple[int, str]  # the label of an image and the region of its patch


def correction_regions(
    names: Sequence[str], pictures: Sequence[Picture], shape: Sequence[int]
) -> tuple[CorrectionRegion, ...]:
    """Return every label and region in which a patch corrects an error of a model.

    The p-values are corrected for all regions of all models together.
    """
    found = [
        one
        for rank, name in enumerate(names)
        for one in _uncorrected_regions(name, list(_label_regions(rank, pictures, shape)))
    ]
    corrected = holm([one.p for one in found])
    return tuple(one.model_copy(update={"p": p}) for one, p in zip(found, corrected, strict=True))


def _label_regions(rank: int, pictures: Sequence[Picture], shape: Sequence[int]) -> Iterator[LabelRegion]:
    """Yield the label and the region of every patch that corrects an error of the model at position `rank`."""
    for picture in pictures:
        explanation = picture.answers[rank].explanation
        if explanation and explanation.patch:
            yield picture.label, region_of(explanation.patch, shape)


def _uncorrected_regions(model: str, found: Sequence[LabelRegion]) -> Iterator[CorrectionRegion]:
    """Yield the regions of one model, with uncorrected p-values."""
    for label, region in sorted(set(found)):
        of_label = [where for which, where in found if which == label]
        of_others = [where for which, where in found if which != label]
        here, elsewhere = (share_estimate(of.count(region), len(of)) for of in (of_label, of_others))
        yield CorrectionRegion(
            model=model, label=label, region=region, here=here, elsewhere=elsewhere, p=fisher_p(here, elsewhere)
        )


def region_of(patch: Patch, shape: Sequence[int]) -> str:
    """Return the region of the center of a patch.

    The image has three rows and three columns of equal size; the names are such as "top left", "bottom" and "middle".
    """
    rows, columns = shape[:2]
    vertical = ("top", "", "bottom")[min(2, int(3 * (patch.row + patch.edge / 2) / rows))]
    horizontal = ("left", "", "right")[min(2, int(3 * (patch.column + patch.edge / 2) / columns))]
    return f"{vertical} {horizontal}".strip() or "middle"
