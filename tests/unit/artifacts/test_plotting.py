import warnings

import pytest

from artifacts.common.plotting import LETTERS, figure_url, font_safe_labels, shorten_label
from artifacts.report.figures import FIGURES
from tests.support.samples import analysis_of_two

LONG = {
    "thirty letters": [f"a name with thirty letters, no {number}" for number in range(3)],
    "one word": [f"{number}{'w' * 149}" for number in range(3)],
    "150 letters": [f"{'words and more words ' * 8}"[:149] + str(number) for number in range(3)],
    "lines and dollars": ["a\nb", "$x$ and $y$ and $z$ and $", "c" * 16],
}


@pytest.mark.parametrize("names", LONG.values(), ids=LONG)
def test_names_are_short_in_a_figure_and_still_differ(names: list[str]) -> None:
    short = font_safe_labels(names)
    assert len(set(short)) == len(names)
    assert all(len(one.replace("\\", "")) <= LETTERS and "\n" not in one for one in short)


def test_beginning_and_end_of_a_long_name_are_shown() -> None:
    assert shorten_label("short") == "short"
    assert shorten_label("a_beginning_and_a_middle_and_an_end") == "a_beginning_and_a_…nd_an_end"
    assert font_safe_labels(["Arctic fox, summer coat", "7"]) == ["Arctic fox…coat", "7"]
    alike = font_safe_labels(["Arctic fox, summer coat", "Arctic fox, winter coat"])
    assert alike == ["Arctic fo… (0)", "Arctic fo… (1)"]


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("names", [LONG["one word"], LONG["lines and dollars"]], ids=["one word", "lines and dollars"])
def test_every_figure_has_room_for_long_names(names: list[str], figure: str) -> None:
    analysis = analysis_of_two()
    models = tuple(model.model_copy(update={"name": f"{model.name}{'_more' * 11}"}) for model in analysis.models)
    subject = analysis.subject.model_copy(update={"classes": tuple(names)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib's warning that no space is left for the axes
        figure_url(FIGURES[figure](analysis.model_copy(update={"subject": subject, "models": models})))


def test_one_epoch_has_one_tick() -> None:
    analysis = analysis_of_two()
    models = tuple(model.model_copy(update={"epochs": 1}) for model in analysis.models)
    for axis in FIGURES["training_curves"](analysis.model_copy(update={"models": models})).axes:
        low, high = axis.get_xlim()
        assert [tick for tick in axis.get_xticks() if low <= tick <= high] == [1]
