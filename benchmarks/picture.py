"""Draw a chart of the figures that have a limit: their median, their range, and the limit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from benchmarks.arms import Sample
from benchmarks.figures import Figure, value
from tasks.storage.output_files import rewrite_file


def draw(figures: Mapping[str, Figure], samples: Mapping[str, Sequence[Sample]], path: Path) -> None:
    """Draw each figure as a bar with its range and a mark at its limit."""
    limited = [(figure, figure.limit) for figure in figures.values() if figure.limit is not None]
    canvas = Canvas(figsize=(8, 0.8 + 0.5 * len(limited)), layout="constrained")
    axes = canvas.add_subplot()
    for place, (figure, limit) in enumerate(limited):
        found = value(figure, samples)
        spread = [[found.median - found.least], [found.greatest - found.median]]
        axes.barh(place, found.median, height=0.6, color="#4477aa", xerr=spread, capsize=3)
        axes.plot([limit] * 2, [place - 0.4, place + 0.4], color="#cc3311", linewidth=2)
    axes.set_yticks(range(len(limited)), [figure.says for figure, _ in limited])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the other arm's time; the red mark is the limit")
    axes.spines[["top", "right"]].set_visible(False)
    with rewrite_file(path) as stream:
        canvas.savefig(stream, format="svg", metadata={"Date": None})
