"""Tabulate a study as rows, for Prefect's table artifacts and for the template."""

from collections.abc import Sequence

from artifacts.common.formatting import UNDEFINED, interval, interval_of_difference, percent
from artifacts.common.rows import HOLM, Row, TableArtifact, p_value_cells, row
from artifacts.study.text import counted_trainings, format_seeds, pairing
from tasks.schemas.study import Study, StudyModel


def arms(study: Study) -> list[Row]:
    """Return one row per arm: the mean accuracy over the seeds, and the deviation from seed to seed."""
    return [
        {
            "model": arm.name,
            "parameters": f"{arm.parameters:,}",
            "epochs": arm.epochs,
            "mean accuracy": percent(arm.accuracy.value),
            "95 % interval": interval(arm.accuracy),
            "lowest": percent(1 - max(arm.errors) / study.images),
            "highest": percent(1 - min(arm.errors) / study.images),
            "deviation, points": f"{100 * arm.deviation.value:.3f}",
            "95 % interval, points": interval(arm.deviation, 3),
            "fit": f"{arm.fit_seconds:.0f} s",
        }
        for arm in study.arms
    ]


def pair_rows(study: Study) -> list[Row]:
    """Return one row per pair: the mean difference in percentage points, with its intervals.

    The intervals are for other seeds, for other images, and for both.
    """
    return [
        {
            "models": f"{pair.second} minus {pair.first}",
            "difference, points": f"{100 * pair.over_both.value:+z.3f}",
            "other seeds": interval_of_difference(pair.over_seeds, 3),
            "other images": interval_of_difference(pair.over_images, 3),
            "both": interval_of_difference(pair.over_both, 3),
            **p_value_cells(pair.p),
            "seeds needed": UNDEFINED if pair.seeds_needed is None else pair.seeds_needed,
        }
        for pair in study.pairs
    ]


def noises(study: Study) -> list[Row]:
    """Return one row per pair: the noise of one comparison, by its source."""
    return [
        {
            "models": f"{pair.second} minus {pair.first}",
            "other seeds alone, points": f"{100 * pair.noise.seeds:.3f}",
            "other images alone, points": f"{100 * pair.noise.images:.3f}",
            "both, points": f"{100 * pair.noise.both:.3f}",
        }
        for pair in study.pairs
    ]


def confusions(study: Study) -> list[Row]:
    """Return one row for each common confusion of each pair of arms, in ascending order of p-value."""
    classes = study.classes
    return [
        {
            "label": classes[one.label],
            "predicted": classes[one.predicted],
            "models": f"{one.second} minus {one.first}",
            "errors per training": f"{one.first} {one.by_first:.1f}, {one.second} {one.by_second:.1f}",
            "difference": f"{one.difference.value:+z.1f}",
            "95 % interval": f"{one.difference.low:+z.1f} to {one.difference.high:+z.1f}",
            **p_value_cells(one.p),
        }
        for one in sorted(study.confusions, key=lambda one: one.p)
    ]


def by_seed(study: Study) -> list[Row]:
    """Return one row per seed: the errors of every arm.

    If the arms have different seeds, there is one row per training, and each arm has a column of seeds.
    """
    if study.seeds:
        return [
            row({"seed": seed}, *((arm.name, {"": arm.errors[at]}) for arm in study.arms))
            for at, seed in enumerate(study.seeds)
        ]
    return [
        row({"training": at + 1}, *((arm.name, _training(arm, at)) for arm in study.arms))
        for at in range(study.trainings)
    ]


def _training(arm: StudyModel, at: int) -> Row:
    """Return the cells of one training of an arm."""
    return {" seeds": format_seeds(arm.seeds[at]), "": arm.errors[at]}


def error_persistence(study: Study) -> list[Row]:
    """Return one row per arm: the images that no training, some trainings or every training misclassifies."""
    return [
        {
            "model": arm.name,
            "every training correct": arm.wrong_by[0],
            "some trainings wrong": arm.sometimes_wrong,
            "every training wrong": arm.always_wrong,
            "mean errors per training": f"{sum(arm.errors) / len(arm.errors):.1f}",
        }
        for arm in study.arms
    ]


def study_tables(study: Study) -> Sequence[TableArtifact]:
    """Return every table that is not empty, as (key, description, rows) of its Prefect artifact."""
    models = f"All models on the test images of {study.title}, over {counted_trainings(study.seeds, study.arms)}"
    found = (
        ("study-models", models, arms(study)),
        ("study-pairs", f"Differences, {pairing(study)}; {HOLM}", pair_rows(study)),
        ("study-seeds", "Errors by training", by_seed(study)),
    )
    return [one for one in found if one[2]]
