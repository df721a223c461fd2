"""Highlights of the report: sentences about what a reader should look at first, each with its evidence.

They name labels, slices, image regions and label issues for which chance is an unlikely explanation. None of them is a
verdict.
"""

from collections.abc import Iterator

from artifacts.common.formatting import p_value, percent
from artifacts.report.text import compared_with, standing_slices
from tasks.schemas.analysis import Analysis

# Share of the other images that have ink in a region; below it, the model may rely on something other than shapes.
_LONELY = 0.05
_ENOUGH = 10  # least number of images that counts as a pattern
_MOST_DOUBTED = 10  # pairs of labels per split, those with the most images; the gallery section lists all pairs


def standouts(analysis: Analysis) -> list[str]:
    """Return all highlights: labels, slices, unusual image regions, correcting regions, and suspicious labels."""
    return [
        *_standing_labels(analysis),
        *standing_slices(analysis),
        *_odd_places(analysis),
        *_mending_places(analysis),
        *_suspicious_labels(analysis),
    ]


def _standing_labels(analysis: Analysis) -> Iterator[str]:
    """Yield the labels that a model misclassifies significantly more often than the other labels."""
    for line in analysis.labels:
        for rank, model in enumerate(analysis.models):
            if line.stands_out(rank):
                label, p = analysis.subject.classes[line.label], p_value(line.p_elsewhere[rank], sign=True)
                yield f"{model.name}: label {label}, {compared_with(line.errors[rank], line.elsewhere[rank])}, corrected p {p}"


def _odd_places(analysis: Analysis) -> Iterator[str]:
    """Yield the labels that a model recognizes by a region where hardly any other image has ink."""
    for model in analysis.models:
        for focus in model.focus:
            if focus.ink_elsewhere < _LONELY < focus.ink_here and focus.peak > _LONELY:
                yield (
                    f"{model.name} goes by row {focus.row}, column {focus.column} for label "
                    f"{analysis.subject.classes[focus.label]}: ink lies there in {percent(focus.ink_here, 0)} of its images "
                    f"and in {percent(focus.ink_elsewhere, 1)} of all others, and without it the label's probability falls by "
                    f"{100 * focus.peak:.0f} points on {focus.count} images"
                )


def _mending_places(analysis: Analysis) -> Iterator[str]:
    """Yield the border regions whose erasure corrects significantly more errors on one label than on others.

    Such a region may hold an artifact, such as dirt.
    """
    for one in analysis.mendings:
        if one.stands_out and one.place != "middle" and one.here.count >= _ENOUGH:
            yield (
                f"{one.model}: erasing a patch at the {one.place} mends {one.here.count} of the {one.here.total} errors on "
                f"label {analysis.subject.classes[one.label]} that any patch mends, on other labels {one.elsewhere.count} of "
                f"{one.elsewhere.total}, corrected p {p_value(one.p, sign=True)}"
            )


def _suspicious_labels(analysis: Analysis) -> Iterator[str]:
    """Yield the pairs of labels for which all models confidently contradict the label of many images."""
    classes = analysis.subject.classes
    for found in analysis.suspects:
        for line in found.patterns[:_MOST_DOUBTED]:
            if line.count >= _ENOUGH:
                yield (
                    f"{line.count} {found.split} images are labelled {classes[line.label]}, and all models are sure that they "
                    f"are {classes[line.said]}: suspects of a wrong label"
                )
