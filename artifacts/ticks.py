"""Ticks: the names of classes along a figure's axis, however many and long they are, and whatever they are written in."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ft2font import FT2Font

MOST = 100  # names along nine inches; of more, every second or third is given
SHORT = 3  # letters that fit side by side
LETTERS = 16  # of a name in a figure: of longer ones, beginning and end are shown
MODEL_LETTERS = 28  # of a model's name, which stands in legends and titles


@cache
def drawable() -> frozenset[int]:
    """The characters that the figures' font has."""
    return frozenset(FT2Font(font_manager.findfont(font_manager.FontProperties())).get_charmap())


def shortened(name: str, letters: int = MODEL_LETTERS) -> str:
    """A name of at most so many letters: of a longer one, its beginning and its end."""
    if len(name) <= letters:
        return name
    end = (letters - 1) // 3
    return f"{name[: letters - 1 - end].rstrip()}…{name[-end:].lstrip()}"


def written(classes: Sequence[str]) -> list[str]:
    """The names as matplotlib takes them, short enough for a figure.

    A class whose name the font has no letters for goes by its number; names that are alike once shortened end in theirs.
    """
    lines = [" ".join(name.split()) for name in classes]
    short = [shortened(line, LETTERS) for line in lines]
    alike = Counter(short)
    return [
        f"({number})"
        if not all(ord(letter) in drawable() for letter in line)
        else (name if alike[name] == 1 else f"{line[: LETTERS - 7].rstrip()}… ({number})").replace("$", r"\$")
        for number, (line, name) in enumerate(zip(lines, short, strict=True))
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
