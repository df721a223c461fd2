"""Draw the figures of a study, with the colors and markers of the other figures."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from artifacts.common.plotting import beside, color, error_bars, legend_above, marker, panels, shorten_label
from tasks.schemas.findings import Estimate
from tasks.schemas.study import Study

_INTERVALS = (("other seeds", "over_seeds"), ("other images", "over_images"), ("both", "over_both"))


def accuracy_by_seed(study: Study) -> Figure:
    """Return a figure with the accuracy of every training, one row per arm, with the mean and its interval."""
    figure, (axis,) = panels(1, 0.7 * len(study.arms) + 1.1, across=1)
    for rank, arm in enumerate(study.arms):
        values = 1 - np.array(arm.errors) / study.images
        height = rank + 0.22 * ((np.arange(len(values)) % 5) / 4 - 0.5)  # keep equal values apart
        axis.plot(values, height, marker(rank), color=color(rank), alpha=0.5, markersize=5)
        _bar(axis, arm.accuracy, rank + 0.3, rank)
    _finish(axis, [shorten_label(arm.name) for arm in study.arms])
    axis.set(xlabel="accuracy", title="accuracy by training; below, the mean with its 95 % interval for other seeds")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.2f} %"))
    return figure


def differences(study: Study) -> Figure:
    """Return a figure with the difference of every pair by training, and the mean difference.

    The mean has three intervals: for other seeds, for other images, and for both.
    """
    figure, (axis,) = panels(1, 1.3 * len(study.pairs) + 1.1, across=1)
    axis.axvline(0, color="#888888", linewidth=1)
    if study.claim:
        axis.axvline(study.claim.difference, color="#888888", linewidth=1, linestyle=":")
        axis.annotate(
            study.claim.source, (study.claim.difference, 1), (3, -3), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color="#555555",
        )  # fmt: skip
    for row, pair in enumerate(study.pairs):
        axis.plot(pair.by_seed, np.full(len(pair.by_seed), row - 0.25), "o", color="#333333", alpha=0.4, markersize=5)
        for rank, (name, field) in enumerate(_INTERVALS):
            label = f"mean, {name}" if not row else None
            _bar(axis, getattr(pair, field), row + 0.15 * rank, rank, label)
    _finish(axis, [f"{shorten_label(pair.second)}\nminus {shorten_label(pair.first)}" for pair in study.pairs])
    axis.set(xlabel="difference of accuracy, points", title="difference by training, and the mean with 95 % intervals")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+z.2f}"))
    figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside lower center")
    return figure


def _bar(axis: Any, found: Estimate, height: float, rank: int, label: str | None = None) -> None:
    """Draw a mean as a marker, with its interval as a horizontal error bar."""
    style: dict[str, Any] = {"fmt": marker(rank), "color": color(rank), "capsize": 3, "label": label}
    axis.errorbar([found.value], [height], xerr=error_bars([found]), **style)


def _finish(axis: Any, names: list[str]) -> None:
    """Label the rows with names, from top to bottom."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)


def draw_wrong_by(study: Study) -> Figure:
    """Return a figure with the number of images that exactly 1, 2, ... of the trainings misclassify, one color per arm.

    Images that no training misclassifies are left out.
    """
    figure, (axis,) = panels(1, 3.0, across=1)
    trainings, width = study.trainings, 0.8 / len(study.arms)
    for rank, arm in enumerate(study.arms):
        at = np.arange(1, trainings + 1) + beside(rank, len(study.arms), width)
        axis.bar(at, arm.wrong_by[1:], width, color=color(rank), alpha=0.85, label=shorten_label(arm.name))
    axis.set(
        xlabel="trainings that misclassify an image",
        ylabel="images",
        title="images by the number of trainings that misclassify them",
    )
    if trainings <= 20:
        axis.set_xticks(range(1, trainings + 1))
    legend_above(figure, *axis.get_legend_handles_labels())
    return figure


def study_figures(study: Study) -> dict[str, Callable[[], Figure]]:
    """Return the function that draws each figure of a study, by the name of the figure."""
    drawing = {"accuracy_by_seed": accuracy_by_seed, "wrong_by": draw_wrong_by}
    if study.pairs:
        drawing["differences"] = differences
    return {name: partial(draw, study) for name, draw in drawing.items()}
