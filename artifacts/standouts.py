"""Standouts: what a reader should look at first, each in a sentence with its evidence.

In: an Analysis. Out: sentences: labels, slices, places and suspects beyond what chance explains. None is a verdict.
"""

from collections import Counter
from collections.abc import Iterator

from artifacts.words import against, p_value, percent, standing_slices
from tasks.analysis import Analysis
from tasks.findings import Patch

LONELY = 0.05  # a model that goes by a place where fewer other images have ink goes by something else than shapes
OFTEN = 0.5  # of the mended errors of a label: more in one place of the border are no accident
ENOUGH = 10  # images: fewer are no pattern


def standouts(analysis: Analysis) -> list[str]:
    """All of them: labels and slices that a model errs on, odd places that it goes by, and labels that it doubts."""
    return [
        *standing_labels(analysis),
        *standing_slices(analysis),
        *odd_places(analysis),
        *mending_places(analysis),
        *doubted_labels(analysis),
    ]


def standing_labels(analysis: Analysis) -> Iterator[str]:
    """Labels that a model errs on more often than on the others, beyond chance."""
    for line in analysis.labels:
        for rank, model in enumerate(analysis.models):
            if line.stands_out(rank):
                label, p = analysis.subject.classes[line.label], p_value(line.p_elsewhere[rank], sign=True)
                yield f"{model.name}: label {label}, {against(line.errors[rank], line.elsewhere[rank])}, corrected p {p}"


def odd_places(analysis: Analysis) -> Iterator[str]:
    """Labels that a model knows by a place where hardly any other image has ink."""
    for model in analysis.models:
        for focus in model.focus:
            if focus.ink_elsewhere < LONELY < focus.ink_here and focus.peak > LONELY:
                yield (
                    f"{model.name} goes by row {focus.row}, column {focus.column} for label "
                    f"{analysis.subject.classes[focus.label]}: ink lies there in {percent(focus.ink_here, 0)} of its images "
                    f"and in {percent(focus.ink_elsewhere, 1)} of all others, and without it the label's probability falls by "
                    f"{100 * focus.peak:.0f} points on {focus.count} images"
                )


def mending_places(analysis: Analysis) -> Iterator[str]:
    """Places at the border whose erasing mends most of the errors on a label, such as dirt."""
    for rank, model in enumerate(analysis.models):
        for label, name in enumerate(analysis.subject.classes):
            answers = [picture.answers[rank] for picture in analysis.pictures if picture.label == label]
            patches = [one.explanation.patch for one in answers if one.explanation and one.explanation.patch]
            counts = Counter(place_of(patch, analysis.subject.shape) for patch in patches)
            for place, count in counts.most_common(1):
                if place != "middle" and count >= ENOUGH and count > OFTEN * len(patches):
                    yield (
                        f"{model.name}: erasing a patch at the {place} mends {count} of {len(patches)} errors on label "
                        f"{name} that any patch mends"
                    )


def place_of(patch: Patch, shape: tuple[int, ...]) -> str:
    """Where the middle of a patch lies, in thirds of the image."""
    rows, columns = shape[:2]
    vertical = ("top", "", "bottom")[min(2, int(3 * (patch.row + patch.edge / 2) / rows))]
    horizontal = ("left", "", "right")[min(2, int(3 * (patch.column + patch.edge / 2) / columns))]
    return f"{vertical} {horizontal}".strip() or "middle"


def doubted_labels(analysis: Analysis) -> Iterator[str]:
    """Labels that all models hold to be another in many images."""
    classes = analysis.subject.classes
    for found in analysis.suspects:
        for line in found.patterns:
            if line.count >= ENOUGH:
                yield (
                    f"{line.count} {found.split} images are labelled {classes[line.label]}, and all models are sure that they "
                    f"are {classes[line.said]}: suspects of a wrong label"
                )
