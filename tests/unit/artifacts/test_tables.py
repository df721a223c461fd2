"""Test tables of models with arbitrary names: names are column headers, and none may hide another column."""

import json
from collections.abc import Sequence

import pytest

from artifacts.common import rows as common_rows
from artifacts.common.templating import table
from artifacts.report import tables
from artifacts.terminal import show_guesses
from tasks.analysis.builder import build_robustness
from tasks.schemas.analysis import Analysis
from tasks.schemas.findings import Share
from tasks.schemas.results import ClassifiedPicture, ClassPrediction
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
    show_guesses([ClassifiedPicture(path="mine.png", pixels="", guesses={name: guess})], "page.html")
    printed = capsys.readouterr().out
    assert "mine.png" in printed
    assert "7, 90.00 %" in printed
    assert name in printed


def test_a_share_of_no_images_is_not_a_share_of_none() -> None:
    analysis = analysis_of_two()
    none = Share(count=0, total=0, low=0, high=1)
    line = analysis.labels[0].model_copy(update={"errors": (none, none)})
    (row,) = tables.errors_by_label(analysis.model_copy(update={"labels": (line,)}))
    assert (row["plain"], row["plain rate"], row["plain 95 %"]) == (0, "–", "–")
    assert "---: | ---: | ---: |" in table([row])
    json.dumps(row, allow_nan=False)
