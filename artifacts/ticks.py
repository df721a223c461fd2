"""Ticks: the names of classes along a figure's axis, however many and long they are, and whatever they are written in."""

from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ft2font import FT2Font

MOST = 100  # names along nine inches; of more, every second or third is given
SHORT = 3  # letters that fit side by side


@cache
def drawable() -> frozenset[int]:
    """The characters that the figures' font has."""
    return frozenset(FT2Font(font_manager.findfont(font_manager.FontProperties())).get_charmap())


def written(classes: Sequence[str]) -> list[str]:
    """The names as matplotlib takes them; a class whose name it has no letters for goes by its number."""
    return [
        name.replace("$", r"\$") if all(ord(letter) in drawable() for letter in name) else f"({number})"
        for number, name in enumerate(classes)
    ]


def fitting(classes: Sequence[str]) -> dict[str, float]:
    """How names are written so that they do not run into each other: upright and smaller the more there are."""
    if len(classes) <= 12 and max(map(len, classes), default=0) <= SHORT:
        return {"fontsize": 10}
    return {"rotation": 90, "fontsize": max(4.0, min(8.0, 400 / max(1, len(classes))))}


def name_columns(axis: Axes, classes: Sequence[str]) -> None:
    """Name what stands side by side."""
    step = -(-len(classes) // MOST)
    axis.set_xticks(range(0, len(classes), step), list(classes)[::step], **fitting(classes))  # type: ignore[arg-type]


def name_rows(axis: Axes, classes: Sequence[str]) -> None:
    """Name what stands one below the other."""
    step = -(-len(classes) // MOST)
    axis.set_yticks(range(0, len(classes), step), list(classes)[::step], fontsize=fitting(classes)["fontsize"])
