"""Test tables of models with arbitrary names: names are column headers, and none may hide another column."""

import csv
import json
from collections.abc import Sequence

import pytest

from artifacts.common import rows as common_rows
from artifacts.common.templating import table
from artifacts.report import tables
from artifacts.terminal import show_predictions
from flows.cli.predict import _write_csv
from tasks.analysis.builder import build_robustness
from tasks.schemas.analysis import Analysis
from tasks.schemas.doubt import Judgment
from tasks.schemas.findings import Share
from tasks.schemas.results import ClassifiedPicture, ClassPrediction, PredictResult
from tasks.schemas.robustness import CorruptionCounts
from tests.support.samples import analysis_of_two

NAMES = ("label", "images", "predicted", "feature", "range", "corruption", "severity", "seed", "picture", "model")


def named(first: str, second: str) -> Analysis:
    """Return the analysis of two models with these names."""
    text = analysis_of_two().model_dump_json()
    analysis = Analysis.model_validate_json(text)
    models = tuple(
        model.model_copy(update={"name": name}) for model, name in zip(analysis.models, (first, second), strict=True)
    )
    pairs = tuple(one.model_copy(update={"first": first, "second": second}) for one in analysis.comparisons)
    return analysis.model_copy(update={"models": models, "comparisons": pairs})


def values(rows: Sequence[common_rows.Row]) -> list[list[object]]:
    return [list(row.values()) for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_every_table_holds_the_same_values_whatever_models_are_called(name: str) -> None:
    plain, other = named("plain", "another"), named(name, "another")
    for make in (tables.errors_by_label, tables.patterns, tables.slices):
        assert values(make(other)) == values(make(plain)), make.__name__
        columns = list(make(other)[0])
        assert columns[:2] == list(make(plain)[0])[:2]
        assert len(columns) == len(set(columns))


@pytest.mark.parametrize("name", NAMES)
def test_corruptions_are_told_from_models_of_their_columns_names(name: str) -> None:
    def rows(model: str) -> list[common_rows.Row]:
        found = [
            CorruptionCounts(model=one, images=4, clean=3, right={"blur": (3, 2)}, by_image=(2, 2, 1, 0))
            for one in (model, "another")
        ]
        return tables.corruptions(build_robustness(found, {"blur": ("", "")}))

    assert values(rows(name)) == values(rows("plain"))


@pytest.mark.parametrize("name", NAMES)
def test_own_pictures_are_told_from_a_model_called_picture(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    guess = ClassPrediction(label="7", probability=0.9, probabilities={"7": 0.9})
    picture = ClassifiedPicture(path="mine.png", pixels="", guesses={name: guess})
    show_predictions(PredictResult(run="r", pictures=(picture,), page="page.html"))
    printed = capsys.readouterr().out
    assert "mine.png" in printed
    assert "7, 90.00 %" in printed
    assert name in printed


def test_a_class_named_like_a_column_of_the_csv_file_has_a_column_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    classes = ("path", "model", "class label", "label", "doubts", "7")
    probabilities = {name: place / 10 for place, name in enumerate(classes)}
    guess = ClassPrediction(label="doubts", probability=0.4, probabilities=probabilities)
    picture = ClassifiedPicture(path="mine.png", pixels="", guesses={"plain": guess}, doubts=("no stroke",))
    _write_csv([picture], classes)
    (line,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (line["path"], line["model"], line["label"], line["doubts"]) == ("mine.png", "plain", "doubts", "no stroke")
    assert len(line) == 5 + len(classes)
    assert (line["class path"], line["class class label"], line["class label"], line["7"]) == (
        "0.000000",
        "0.300000",
        "0.200000",
        "0.500000",
    )


def test_the_csv_file_tells_predictions_without_doubt_from_those_that_were_not_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guess = ClassPrediction(label="7", probability=0.9, probabilities={"7": 0.9})
    sure = guess.model_copy(update={"judgment": Judgment(confidence=0.9, distance=1.0)})
    picture = ClassifiedPicture(path="mine.png", pixels="", guesses={"plain": sure, "old": guess})
    _write_csv([picture], ("7",))
    found = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(line["model"], line["doubts"], line["judged"]) for line in found] == [
        ("plain", "", "yes"),
        ("old", "", "no"),
    ]


def test_a_share_of_zero_images_is_undefined_rather_than_zero() -> None:
    analysis = analysis_of_two()
    none = Share(count=0, total=0, low=0, high=1)
    line = analysis.labels[0].model_copy(update={"errors": (none, none)})
    (row,) = tables.errors_by_label(analysis.model_copy(update={"labels": (line,)}))
    assert (row["plain"], row["plain rate"], row["plain 95 %"]) == (0, "–", "–")
    assert "---: | ---: | ---: |" in table([row])
    json.dumps(row, allow_nan=False)
