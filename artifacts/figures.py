"""Figures: the analysis as diagrams.

In: an Analysis. Out: matplotlib figures, made without pyplot's global state, so that they can be drawn in any thread.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from tasks.analysis import Analysis, ModelAnalysis

# Okabe and Ito's colours, which people with a colour vision deficiency tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH = 9.0  # inches


def colour(rank: int) -> str:
    """A model's colour, the same in every figure."""
    return COLOURS[rank % len(COLOURS)]


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


def training_curves(analysis: Analysis) -> Figure:
    """Loss and error rate by epoch, training and (where held out) validation, with the test figure at the end."""
    figure, (loss, error) = panels(2, 3.2, across=2)
    for rank, model in enumerate(analysis.models):
        epochs = [line.epoch for line in model.history]
        style: dict[str, Any] = {"color": colour(rank), "marker": "o", "markersize": 4}
        loss.plot(epochs, [line.loss for line in model.history], label=f"{model.name}, training", **style)
        error.plot(epochs, [1 - line.accuracy for line in model.history], label=f"{model.name}, training", **style)
        held_out = [(e.epoch, e.validation_loss, e.validation_accuracy) for e in model.history]
        for epoch, validation_loss, validation_accuracy in held_out:
            if validation_loss is not None and validation_accuracy is not None:
                mark: dict[str, Any] = {"color": colour(rank), "marker": "x", "linestyle": "none"}
                label = f"{model.name}, validation" if epoch == 1 else None
                loss.plot([epoch], [validation_loss], label=label, **mark)
                error.plot([epoch], [1 - validation_accuracy], label=label, **mark)
        tested = 1 - model.accuracy.value
        bars = [[tested - (1 - model.accuracy.high)], [(1 - model.accuracy.low) - tested]]
        at, end = [epochs[-1] + 0.12 * (rank + 1)], dict[str, Any](color=colour(rank), marker="s", linestyle="none")
        error.errorbar(at, [tested], yerr=bars, capsize=3, label=f"{model.name}, test", **end)
        loss.plot(at, [model.loss], label=f"{model.name}, test", **end)
    for axis, title in ((loss, "loss (cross-entropy, nats)"), (error, "error rate, test with 95 % interval")):
        axis.set_yscale("log")
        axis.set(title=title, xlabel="epoch")
        axis.grid(visible=True, axis="y", alpha=0.2)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    error.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    error.legend(fontsize=8, frameon=False)
    return figure


def errors_by_label(analysis: Analysis) -> Figure:
    """Error rate by label with 95 % intervals, the models side by side."""
    figure, (axis,) = panels(1, 3.2, across=1)
    lines, models = analysis.labels, analysis.models
    width = 0.8 / len(models)
    for rank, model in enumerate(models):
        shares = [line.errors[rank] for line in lines]
        at = np.arange(len(lines)) + (rank - (len(models) - 1) / 2) * width
        values = np.array([share.value for share in shares])
        bars = np.array([[s.value - s.low for s in shares], [s.high - s.value for s in shares]]).clip(0)
        axis.bar(at, values, width, color=colour(rank), label=model.name, alpha=0.85)
        axis.errorbar(at, values, yerr=bars, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        for x, share in zip(at, shares, strict=True):
            axis.annotate(
                f"{share.count}", (x, share.high), (0, 2), textcoords="offset points", ha="center", fontsize=7
            )
    axis.set_xticks(range(len(lines)), [analysis.subject.classes[line.label] for line in lines])
    axis.set(xlabel="label", title="error rate by label, with 95 % interval and count")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.legend(frameon=False)
    return figure


def confusion_matrices(analysis: Analysis) -> Figure:
    """The confusion matrices, off the diagonal coloured by count."""
    classes = analysis.subject.classes
    figure, axes = panels(len(analysis.models), 4.4, across=min(2, len(analysis.models)))
    most = max(2, max(int(off_diagonal(model).max()) for model in analysis.models))
    for axis, model in zip(axes, analysis.models, strict=False):
        counts = off_diagonal(model)
        axis.imshow(np.ma.masked_equal(counts, 0), cmap="YlOrRd", norm=LogNorm(1, most))
        if len(classes) <= 20:
            write_counts(axis, np.array(model.confusion), most)
        axis.set_title(f"{model.name}: {model.errors:,} errors")
        axis.set(xlabel="predicted", ylabel="label")
        axis.set_xticks(range(len(classes)), classes)
        axis.set_yticks(range(len(classes)), classes)
        axis.spines[:].set_visible(False)
    return figure


def off_diagonal(model: ModelAnalysis) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """A confusion matrix without the right answers."""
    counts = np.array(model.confusion, np.int64)
    np.fill_diagonal(counts, 0)
    return counts


def write_counts(axis: Axes, counts: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", most: int) -> None:
    """Write every count that is not 0 into its cell, the right answers in grey."""
    for (label, predicted), count in np.ndenumerate(counts):
        if count:
            right, dark = label == predicted, count > most**0.7
            ink = "#999999" if right else "white" if dark else "black"
            axis.text(predicted, label, f"{count}", ha="center", va="center", fontsize=7, color=ink)


FIGURES: dict[str, Callable[[Analysis], Figure]] = {
    "training_curves": training_curves,
    "errors_by_label": errors_by_label,
    "confusion_matrices": confusion_matrices,
}
