import warnings

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from artifacts.common.formatting import range_of
from artifacts.common.plotting import LETTERS, figure_url, font_safe_labels, log_scale, shorten_label
from artifacts.report.figures import FIGURES, slice_rates
from tasks.schemas.findings import Share
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


def test_a_right_to_left_name_is_replaced_by_its_number_because_matplotlib_reverses_it() -> None:
    assert font_safe_labels(["a", "\u05d0\u05d1"]) == ["a", "(1)"]


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


def ticks_of(axis: Axes) -> list[float]:
    """Return the ticks of the y axis that are within its limits."""
    low, high = axis.get_ylim()
    return [round(float(tick), 9) for tick in axis.get_yticks() if low <= tick <= high]


@pytest.mark.parametrize(
    ("values", "bars", "scale", "ticks"),
    [
        ([0.5, 0.1, 0.02], False, "log", [0.02, 0.05, 0.1, 0.2, 0.5]),
        ([0.5, 0.1, 0.0], False, "symlog", [0, 0.1, 0.2, 0.5]),
        ([0.5, 0.1, 1e-9], False, "symlog", [0, 0.1, 0.2, 0.5]),
        ([0.0, 0.0], False, "symlog", [0]),
        ([1, 3, 5], True, "symlog", [0, 1, 2, 5]),
    ],
)
def test_a_logarithmic_axis_shows_zeros_at_its_foot(
    values: list[float], bars: bool, scale: str, ticks: list[float]
) -> None:
    axis = Figure().subplots()
    axis.bar(range(len(values)), values) if bars else axis.plot(values, "o")
    log_scale(axis, values, bars=bars)
    assert axis.get_yscale() == scale
    assert ticks_of(axis) == ticks
    low, high = axis.get_ylim()
    assert low < min(values) or bars
    assert high >= max(values)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_marks_of_the_lowest_and_the_highest_rate_are_whole(rate: float) -> None:
    analysis = analysis_of_two()
    share = Share(count=int(4 * rate), total=4, low=rate * 0.5, high=0.5 + rate * 0.5)
    part = analysis.slices[0].model_copy(update={"errors": (share, share)})
    axis = slice_rates(analysis.model_copy(update={"slices": (part,)})).axes[0]
    low, high = axis.get_ylim()
    room = 0.03 * (high - low)  # half a mark
    assert low + room < rate < high - room


@pytest.mark.parametrize("figure", ["training_curves", "errors_by_label", "reliability", "slice_rates"])
def test_a_legend_covers_no_axes(figure: str) -> None:
    drawn = FIGURES[figure](analysis_of_two())
    FigureCanvasAgg(drawn).draw()  # type: ignore[no-untyped-call]
    (legend,) = drawn.legends
    assert not any(axis.get_legend() for axis in drawn.axes)
    assert not any(axis.get_window_extent().overlaps(legend.get_window_extent()) for axis in drawn.axes)


def test_slices_of_small_values_have_different_names() -> None:
    ends = [(0.0004, 0.0007), (0.00073, 0.0012), (0.0013, 0.0027), (0.003, 0.003), (0.0031, 0.0031), (0.2, 21.8)]
    parts = [analysis_of_two().slices[0].model_copy(update={"low": low, "high": high}) for low, high in ends]
    names = [range_of(part, unit=False) for part in parts]
    assert names == ["0.000 to 0.001", "0.0007 to 0.0012", "0.001 to 0.003", "0.003", "0.0031", "0.2 to 21.8"]
