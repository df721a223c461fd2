"""Provide what all figures share: colors, sizes, and axis labels for any number and length of class names."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator
from PIL import Image

from artifacts.common.images import png_url
from tasks.safety.plain_text import RIGHT_TO_LEFT
from tasks.schemas.findings import Estimate, Share

_MAX_NAMES = 100  # names along nine inches; with more, only every second or third is shown
SHORT = 3  # letters of a name that fit side by side
LETTERS = 16  # letters of a class name in a figure; a longer name is shortened
_MODEL_LETTERS = 28  # letters of a model's name in legends and titles


@cache
def _drawable() -> frozenset[int]:
    """Return the code points that the font of the figures can draw."""
    return frozenset(FT2Font(font_manager.findfont(font_manager.FontProperties())).get_charmap())


def shorten_label(name: str, letters: int = _MODEL_LETTERS) -> str:
    """Return a name with at most `letters` characters; a longer name keeps its beginning and its end.

    Examples:
        >>> shorten_label("augmented_with_everything_else", 16)
        'augmented_…_else'
    """
    if len(name) <= letters:
        return name
    end = (letters - 1) // 3
    return f"{name[: letters - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def font_safe_labels(classes: Sequence[str]) -> list[str]:
    """Return the class names as matplotlib labels that are short enough for a figure.

    A name with characters that the font lacks is replaced by the class number, and so is a name with right-to-left
    letters, which matplotlib draws in the wrong order. Names that are equal once shortened end
    in their class numbers.
    """
    lines = [" ".join(name.split()) for name in classes]
    short = [shorten_label(line, LETTERS) for line in lines]
    alike = Counter(short)
    return [
        f"({number})"
        if RIGHT_TO_LEFT.search(line) or not all(ord(letter) in _drawable() for letter in line)
        else (name if alike[name] == 1 else f"{line[: LETTERS - 7].rstrip()}… ({number})").replace("$", r"\$")
        for number, (line, name) in enumerate(zip(lines, short, strict=True))
    ]


def _label_properties(classes: Sequence[str]) -> dict[str, float]:
    """Return the text properties that keep class names on an axis from overlapping.

    Many or long names are rotated by 90 degrees, and smaller the more there are.
    """
    if len(classes) <= 12 and max(map(len, classes), default=0) <= SHORT:
        return {"fontsize": 10}
    return {"rotation": 90, "fontsize": max(4.0, min(8.0, 400 / max(1, len(classes))))}


def name_columns(axis: Axes, classes: Sequence[str]) -> None:
    """Label the x axis with class names."""
    step = -(-len(classes) // _MAX_NAMES)
    axis.set_xticks(range(0, len(classes), step), list(classes)[::step], **_label_properties(classes))  # type: ignore[arg-type]


def name_rows(axis: Axes, classes: Sequence[str]) -> None:
    """Label the y axis with class names."""
    step = -(-len(classes) // _MAX_NAMES)
    axis.set_yticks(
        range(0, len(classes), step), list(classes)[::step], fontsize=_label_properties(classes)["fontsize"]
    )


# Okabe and Ito's colors, which are distinguishable with a color vision deficiency.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
WIDTH = 9.0  # inches
_MARKERS = "os^Dv"  # models differ in marker as well as in color
_LEGEND_LETTERS, _LEGEND_MARK, _LEGEND_LINE = 124, 8, 0.18  # letters in a line and of a mark; inches of a line's height
_NEGLIGIBLE = 1e-6  # lower losses and rates are rounding errors


def color(rank: int) -> str:
    """Return the color of a model by its rank, the same in every figure."""
    return _COLORS[rank % len(_COLORS)]


def marker(rank: int) -> str:
    """Return the marker of a model by its rank."""
    return _MARKERS[rank % len(_MARKERS)]


def beside(rank: int, count: int, width: float) -> float:
    """Return the offset of the mark of a model, if those of `count` models are centered side by side."""
    return (rank - (count - 1) / 2) * width


def error_bars(shares: Sequence[Share | Estimate]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """Return the distances from the values to both ends of their intervals, in the shape (2, N)."""
    return np.array([[one.value - one.low for one in shares], [one.high - one.value for one in shares]]).clip(0)


def panels(count: int, height: float, *, across: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in rows of `across`, each row `height` inches high, and all axes."""
    rows = -(-count // across)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend_above(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Add a legend above all axes of a figure, where it covers nothing, and make the figure higher by as much."""
    across = max(1, min(4, _LEGEND_LETTERS // (max(map(len, labels), default=0) + _LEGEND_MARK)))
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * -(-len(labels) // across))
    figure.legend(handles, labels, loc="outside upper left", ncols=across, fontsize=8, frameon=False)


def log_scale(axis: Axes, values: Sequence[float], *, bars: bool = False, subs: Sequence[int] = (1, 2, 5)) -> None:
    """Set a logarithmic y axis for `values`, with zeros at its bottom.

    If a value is negligible, or if bars rise from zero, the axis is linear from zero to the smallest other value.
    Ticks are at the products of `subs` and the powers of ten.
    """
    positive = [value for value in values if value > _NEGLIGIBLE] or [1.0]
    ticks = [float(tick) for tick in LogLocator(subs=subs).tick_values(min(positive), max(positive))]
    if bars or len(positive) < len(values) or max(values, default=0) <= _NEGLIGIBLE:
        axis.set_yscale("symlog", linthresh=min(positive), linscale=0.5)
        axis.set_ylim(0 if bars else -0.3 * min(positive), None)
        ticks = [0.0, *(tick for tick in ticks if tick >= 0.99 * min(positive))]
    else:
        axis.set_yscale("log")
    axis.yaxis.set_major_locator(FixedLocator(ticks))
    axis.yaxis.set_minor_locator(NullLocator())


def figure_url(figure: Figure) -> str:
    """Return a matplotlib figure as a data URL, with enough pixels for a high-density screen."""
    figure.set_dpi(144)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # `savefig` would draw twice
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return png_url(Image.fromarray(pixels).convert("RGB").quantize(64))
