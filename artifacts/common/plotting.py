"""What all figures share: colors, sizes, and the names of classes along an axis, however many and long they are."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from artifacts.common.images import png_url

_MOST = 100  # names along nine inches; of more, every second or third is given
SHORT = 3  # letters that fit side by side
LETTERS = 16  # of a name in a figure: of longer ones, beginning and end are shown
_MODEL_LETTERS = 28  # of a model's name, which stands in legends and titles


@cache
def _drawable() -> frozenset[int]:
    """The characters that the figures' font has."""
    return frozenset(FT2Font(font_manager.findfont(font_manager.FontProperties())).get_charmap())


def shorten_label(name: str, letters: int = _MODEL_LETTERS) -> str:
    """A name of at most so many letters: of a longer one, its beginning and its end."""
    if len(name) <= letters:
        return name
    end = (letters - 1) // 3
    return f"{name[: letters - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def font_safe_labels(classes: Sequence[str]) -> list[str]:
    """The names as matplotlib takes them, short enough for a figure.

    A class whose name the font has no letters for goes by its number; names that are alike once shortened end in theirs.
    """
    lines = [" ".join(name.split()) for name in classes]
    short = [shorten_label(line, LETTERS) for line in lines]
    alike = Counter(short)
    return [
        f"({number})"
        if not all(ord(letter) in _drawable() for letter in line)
        else (name if alike[name] == 1 else f"{line[: LETTERS - 7].rstrip()}… ({number})").replace("$", r"\$")
        for number, (line, name) in enumerate(zip(lines, short, strict=True))
    ]


def _label_count_that_fits(classes: Sequence[str]) -> dict[str, float]:
    """How names are written so that they do not run into each other: upright and smaller the more there are."""
    if len(classes) <= 12 and max(map(len, classes), default=0) <= SHORT:
        return {"fontsize": 10}
    return {"rotation": 90, "fontsize": max(4.0, min(8.0, 400 / max(1, len(classes))))}


def name_columns(axis: Axes, classes: Sequence[str]) -> None:
    """Name what stands side by side."""
    step = -(-len(classes) // _MOST)
    axis.set_xticks(range(0, len(classes), step), list(classes)[::step], **_label_count_that_fits(classes))  # type: ignore[arg-type]


def name_rows(axis: Axes, classes: Sequence[str]) -> None:
    """Name what stands one below the other."""
    step = -(-len(classes) // _MOST)
    axis.set_yticks(
        range(0, len(classes), step), list(classes)[::step], fontsize=_label_count_that_fits(classes)["fontsize"]
    )


# Okabe and Ito's colours, which people with a colour vision deficiency tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
WIDTH = 9.0  # inches
MARKERS = "os^Dv"  # models are told apart by form as well as by colour


def color(rank: int) -> str:
    """A model's colour, the same in every figure."""
    return _COLORS[rank % len(_COLORS)]


def panels(count: int, height: float, *, across: int) -> tuple[Figure, list[Axes]]:
    """A figure with a row of panels or more."""
    rows = -(-count // across)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_axis_off()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def figure_url(figure: Figure) -> str:
    """A matplotlib figure, sharp on a screen of twice the density."""
    figure.set_dpi(144)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # not `savefig`, which draws twice
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return png_url(Image.fromarray(pixels).convert("RGB").quantize(64))
