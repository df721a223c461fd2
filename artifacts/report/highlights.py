"""Highlights of the report: sentences about what a reader should look at first, each with its evidence.

They name labels, slices, image regions and label issues for which chance is an unlikely explanation. None of them is a
verdict.
"""

from collections.abc import Iterator

from artifacts.common.formatting import counted, p_value, percent
from artifacts.report.text import compared_with, slices_that_stand_out
from tasks.schemas.analysis import Analysis

# Share of the other images that have ink in a region; below it, the model may rely on something other than shapes.
_LONELY = 0.05
_ENOUGH = 10  # least number of images that counts as a pattern
_MAX_LABEL_PAIRS = 10  # pairs of labels per split, those with the most images; the gallery section lists all pairs


def standouts(analysis: Analysis) -> list[str]:
    """Return all highlights: labels, slices, unusual image regions, correcting regions, and possible label errors."""
    return [
        *_labels_that_stand_out(analysis),
        *slices_that_stand_out(analysis),
        *_unusual_regions(analysis),
        *_correction_highlights(analysis),
        *_suspicious_labels(analysis),
    ]


def _labels_that_stand_out(analysis: Analysis) -> Iterator[str]:
    """Yield the labels that a model misclassifies significantly more often than the other labels."""
    for line in analysis.labels:
        for rank, model in enumerate(analysis.models):
            if line.stands_out(rank):
                label, p = analysis.subject.classes[line.label], p_value(line.p_elsewhere[rank], sign=True)
                yield f"{model.name}: label {label}, {compared_with(line.errors[rank], line.elsewhere[rank])}, corrected p {p}"


def _unusual_regions(analysis: Analysis) -> Iterator[str]:
    """Yield the labels that a model recognizes by a region where hardly any other image has ink."""
    for model in analysis.models:
        for one in model.saliency_maps:
            if one.ink_elsewhere < _LONELY < one.ink_here and one.peak > _LONELY:
                yield (
                    f"{model.name} relies on row {one.row}, column {one.column} for label "
                    f"{analysis.subject.classes[one.label]}: {percent(one.ink_here, 0)} of the images of this label have "
                    f"ink there, {percent(one.ink_elsewhere, 1)} of all others do; erasing it lowers the label's probability "
                    f"by {100 * one.peak:.0f} points, averaged over {counted(one.count, 'image')}"
                )


def _correction_highlights(analysis: Analysis) -> Iterator[str]:
    """Yield the border regions whose erasure corrects significantly more errors on one label than on others.

    Such a region may hold an artifact of the images, such as a mark in a corner.
    """
    for one in analysis.correction_regions:
        if one.stands_out and one.region != "middle" and one.here.count >= _ENOUGH:
            yield (
                f"{one.model}: erasing a patch at the {one.region} corrects {one.here.count} of the {one.here.total} errors on "
                f"label {analysis.subject.classes[one.label]} that erasing any patch corrects; on other labels, it corrects "
                f"{one.elsewhere.count} of {one.elsewhere.total}; corrected p {p_value(one.p, sign=True)}"
            )


def _suspicious_labels(analysis: Analysis) -> Iterator[str]:
    """Yield the pairs of labels for which all models confidently contradict the label of many images."""
    classes = analysis.subject.classes
    for found in analysis.label_issues:
        for line in found.patterns[:_MAX_LABEL_PAIRS]:
            if line.count >= _ENOUGH:
                yield (
                    f"possible label errors: {line.count} {found.split} images are labeled {classes[line.label]}, and all "
                    f"models confidently predict {classes[line.predicted]}"
                )
