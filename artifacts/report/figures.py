"""Figures of the report.

Each function draws an Analysis as a matplotlib figure without pyplot's global state, so figures can be drawn in any
thread.
"""

import base64
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from artifacts.common import plotting
from artifacts.common.formatting import UNITS, counted, range_of
from artifacts.common.plotting import WIDTH, beside, color, error_bars, legend_above, log_scale, marker, panels
from tasks.schemas.analysis import Analysis, ModelAnalysis
from tasks.schemas.robustness import Robustness

_MAPS = 12  # labels that fit side by side
_LABELS = 30  # labels with the most errors, whose error rates are drawn
_FEW_TICKS = 10  # predictions in a bar up to which the axis has room for ticks at 1, 2 and 5
_COUNTED = 20  # the most classes for which a confusion matrix has room for its counts


def _names_of(analysis: Analysis) -> list[str]:
    """Return the models' names, shortened for a legend."""
    return [plotting.shorten_label(model.name) for model in analysis.models]


def training_curves(analysis: Analysis) -> Figure:
    """Draw loss and error rate by epoch for training and validation, if images were held out.

    Marks after the last epoch show the loss and the error rate on the test images.
    """
    figure, (loss, error) = panels(2, 3.2, across=2)
    named, epochs = _names_of(analysis), max(1, *(model.epochs for model in analysis.models))
    apart = min(0.12, 0.6 / len(analysis.models))  # distance between the models' test marks, in epochs
    for rank, model in enumerate(analysis.models):
        epoch_numbers = [line.epoch for line in model.history]
        style: dict[str, Any] = {"color": color(rank), "marker": "o", "markersize": 4}
        if epoch_numbers:  # an ensemble has no training history of its own
            loss.plot(epoch_numbers, [line.loss for line in model.history], label=f"{named[rank]}, training", **style)
            error.plot(
                epoch_numbers, [1 - line.accuracy for line in model.history], label=f"{named[rank]}, training", **style
            )
        held_out = [(e.epoch, e.validation_loss, e.validation_accuracy) for e in model.history]
        for epoch, validation_loss, validation_accuracy in held_out:
            if validation_loss is not None and validation_accuracy is not None:
                mark: dict[str, Any] = {"color": color(rank), "marker": "x", "linestyle": "none"}
                label = f"{named[rank]}, validation" if epoch == 1 else None
                loss.plot([epoch], [validation_loss], label=label, **mark)
                error.plot([epoch], [1 - validation_accuracy], label=label, **mark)
        tested = 1 - model.accuracy.value
        bars = [[tested - (1 - model.accuracy.high)], [(1 - model.accuracy.low) - tested]]
        at, end = [model.epochs + apart * (rank + 1)], dict[str, Any](color=color(rank), marker="s", linestyle="none")
        error.errorbar(at, [tested], yerr=bars, capsize=3, label=f"{named[rank]}, test", **end)
        loss.plot(at, [model.calibration.log_loss.value], label=f"{named[rank]}, test", **end)
    losses, rates = _losses_and_error_rates(analysis)
    for axis, title, values in (
        (loss, "loss (cross-entropy, nats)", losses),
        (error, "error rate (test: with 95 % interval)", rates),
    ):
        log_scale(axis, values)
        axis.set(title=title, xlabel="epoch")
        axis.grid(visible=True, axis="y", alpha=0.2)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_xlim(1 - 0.05 * epochs, epochs + max(0.05 * epochs, apart * (len(analysis.models) + 1)))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    error.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    legend_above(figure, *error.get_legend_handles_labels())
    return figure


def _losses_and_error_rates(analysis: Analysis) -> tuple[list[float], list[float]]:
    """Return all losses and all error rates that the training curves show."""
    losses = [model.calibration.log_loss.value for model in analysis.models]
    accuracies = [model.accuracy.value for model in analysis.models]
    for line in (line for model in analysis.models for line in model.history):
        losses += [value for value in (line.loss, line.validation_loss) if value is not None]
        accuracies += [value for value in (line.accuracy, line.validation_accuracy) if value is not None]
    return losses, [1 - value for value in accuracies]


def draw_errors_by_label(analysis: Analysis) -> Figure:
    """Draw the error rate of each label with 95 % intervals, the models side by side."""
    figure, (axis,) = panels(1, 3.2, across=1)
    lines, named = analysis.labels[:_LABELS], _names_of(analysis)
    width = 0.8 / len(named)
    for rank, model in enumerate(named):
        known = [place for place, line in enumerate(lines) if line.errors[rank].known]
        shares = [lines[place].errors[rank] for place in known]
        at = np.array(known) + beside(rank, len(named), width)
        values = np.array([share.value for share in shares])
        axis.bar(at, values, width, color=color(rank), label=model, alpha=0.85)
        axis.errorbar(at, values, yerr=error_bars(shares), fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
        for x, share in zip(at, shares, strict=True):
            axis.annotate(
                f"{share.count}", (x, share.high), (0, 2), textcoords="offset points", ha="center", fontsize=7
            )
    classes = plotting.font_safe_labels(analysis.subject.classes)
    plotting.name_columns(axis, [classes[line.label] for line in lines])
    which = f" ({_LABELS} of {len(classes)} labels)" if len(classes) > _LABELS else ""
    axis.set(xlabel="label", ylabel="error rate", title=f"error rate by label, with 95 % interval and count{which}")
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    legend_above(figure, *axis.get_legend_handles_labels())
    return figure


def confusion_matrices(analysis: Analysis) -> Figure:
    """Draw a confusion matrix for each model, with the errors colored by count."""
    classes = plotting.font_safe_labels(analysis.subject.classes)
    many = len(classes) > _COUNTED
    figure, axes = panels(
        len(analysis.models), 8.6 if many else 4.4, across=1 if many else min(2, len(analysis.models))
    )
    most = max(2, max(int(_off_diagonal(model).max()) for model in analysis.models))
    for axis, model in zip(axes, analysis.models, strict=False):
        counts = _off_diagonal(model)
        axis.imshow(np.ma.masked_equal(counts, 0), cmap="YlOrRd", norm=LogNorm(0.4, most))
        if not many:
            _write_counts(axis, np.array(model.confusion), most)
        axis.set_title(f"{plotting.shorten_label(model.name)}: {counted(model.errors, 'error')}")
        axis.set(xlabel="predicted", ylabel="label")
        plotting.name_columns(axis, classes)
        plotting.name_rows(axis, classes)
        axis.spines[:].set_visible(False)
    return figure


def _off_diagonal(model: ModelAnalysis) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Return the confusion matrix of a model with zeros on the diagonal."""
    counts = np.array(model.confusion, np.int64)
    np.fill_diagonal(counts, 0)
    return counts


def _write_counts(axis: Axes, counts: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", most: int) -> None:
    """Write every nonzero count into its cell, with the correct predictions in gray."""
    for (label, predicted), count in np.ndenumerate(counts):
        if count:
            right, dark = label == predicted, count > most**0.7
            ink = "#999999" if right else "white" if dark else "black"
            axis.text(predicted, label, f"{count}", ha="center", va="center", fontsize=7, color=ink)


def reliability(analysis: Analysis) -> Figure:
    """Draw the accuracy by confidence with 95 % intervals, and the number of predictions below."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="perfect calibration")
    width = 0.8 / len(analysis.models)
    for rank, model in enumerate(analysis.models):
        bins = model.calibration.bins
        at = np.array([one.confidence for one in bins])
        values = np.array([one.right.value for one in bins])
        bars = error_bars([one.right for one in bins])
        style: dict[str, Any] = {"color": color(rank), "marker": marker(rank), "markersize": 5, "linewidth": 1}
        curve.errorbar(at, values, yerr=bars, capsize=2, label=plotting.shorten_label(model.name), **style)
        centers = np.array([(one.low + one.high) / 2 for one in bins])
        step = (bins[0].high - bins[0].low) * width
        left = centers + beside(rank, len(analysis.models), step)
        counts.bar(left, [one.right.total for one in bins], step, color=color(rank), alpha=0.85)
    curve.set(ylabel="accuracy", title="reliability: accuracy of the predictions by confidence")
    totals = [one.right.total for model in analysis.models for one in model.calibration.bins]
    log_scale(counts, [1, *totals], bars=True, subs=(1, 2, 5) if max(totals) < _FEW_TICKS else (1,))
    counts.set(xlabel="confidence", ylabel="predictions", xlim=(0, 1.01))
    for axis in (curve, counts):
        axis.spines[["top", "right"]].set_visible(False)
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    curve.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    legend_above(figure, *curve.get_legend_handles_labels())
    return figure


def saliency_maps(analysis: Analysis) -> Figure:
    """Draw the saliency map of each label, with one row for each model.

    Each map is brightest where erasing a window lowers the label's probability most.
    """
    classes = plotting.font_safe_labels(analysis.subject.classes)[:_MAPS]
    size = 9 if max(map(len, classes)) <= plotting.SHORT else 6
    figure = Figure(figsize=(WIDTH, 1.25 * len(analysis.models) + 0.3), layout="constrained")
    axes = figure.subplots(len(analysis.models), len(classes), squeeze=False)
    for first, row, model in zip([True, *[False] * len(axes)], axes, analysis.models, strict=False):
        found = {one.label: one for one in model.saliency_maps}
        for label, axis in enumerate(row):
            axis.set_xticks([])
            axis.set_yticks([])
            if label in found:
                heat = np.frombuffer(base64.b64decode(found[label].heat), np.uint8).reshape(analysis.subject.shape[:2])
                axis.imshow(heat, cmap="cividis", vmin=0, vmax=255)
                axis.set_xlabel(f"{-100 * found[label].peak:z.0f} points", fontsize=7)
            axis.set_title(classes[label] if first else "", fontsize=size)
        row[0].set_ylabel(plotting.shorten_label(model.name, plotting.LETTERS), fontsize=8)
    return figure


def slice_rates(analysis: Analysis) -> Figure:
    """Draw the error rate of each slice with 95 % intervals, with one panel for each feature.

    A filled mark shows a slice whose error rate is significantly higher than elsewhere.
    """
    features = list(dict.fromkeys(part.feature for part in analysis.slices))
    figure, axes = panels(len(features), 2.2, across=2)
    for axis, feature in zip(axes, features, strict=False):
        parts = [part for part in analysis.slices if part.feature == feature]
        for rank, _ in enumerate(analysis.models):
            shares = [part.errors[rank] for part in parts]
            at = np.arange(len(parts)) + beside(rank, len(analysis.models), 0.2)
            values = np.array([share.value for share in shares])
            bars = error_bars(shares)
            axis.errorbar(at, values, yerr=bars, fmt="none", ecolor=color(rank), elinewidth=1.2, capsize=2)
            for x, value, part in zip(at, values, parts, strict=True):
                fill = color(rank) if part.stands_out(rank) else "white"
                axis.plot([x], [value], marker(rank), color=color(rank), markerfacecolor=fill, markersize=6)
        axis.set_xticks(range(len(parts)), [range_of(part, unit=False) for part in parts], fontsize=7.5)
        axis.set_title(f"{feature} ({UNITS[feature].strip()})" if UNITS[feature] else feature, fontsize=9)
        highest = max(share.high for part in parts for share in part.errors)
        axis.set_ylim(-0.06 * highest, 1.06 * highest)  # room for whole marks at the lowest and the highest rate
        axis.set_ylabel("error rate", fontsize=8)
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    marks = [Line2D([], [], marker=marker(rank), color=color(rank)) for rank, _ in enumerate(analysis.models)]
    legend_above(figure, marks, _names_of(analysis))
    return figure


def draw_robustness(found: Robustness) -> Figure:
    """Draw the accuracy by severity with 95 % intervals, with one panel for each corruption."""
    kinds = list(found.examples)
    figure, axes = panels(len(kinds), 2.0, across=4)
    for axis, kind in zip(axes, kinds, strict=False):
        for rank, model in enumerate(found.models):
            shares = [model.clean, *model.right[kind]]
            at = np.arange(len(shares))
            axis.fill_between(
                at,
                [one.low for one in shares],
                [one.high for one in shares],
                color=color(rank),
                alpha=0.15,
                linewidth=0,
            )
            axis.plot(
                at,
                [one.value for one in shares],
                color=color(rank),
                marker=marker(rank),
                markersize=4,
                linewidth=1,
                label=plotting.shorten_label(model.model),
            )
        axis.set_title(kind, fontsize=9)
        axis.set_xticks(at)
        axis.set_ylim(0, 1.02)
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.tick_params(labelsize=7.5)
        axis.grid(visible=True, axis="y", alpha=0.2)
    legend_above(figure, *axes[0].get_legend_handles_labels())
    return figure


FIGURES: dict[str, Callable[[Analysis], Figure]] = {
    "training_curves": training_curves,
    "errors_by_label": draw_errors_by_label,
    "confusion_matrices": confusion_matrices,
    "reliability": reliability,
    "saliency_maps": saliency_maps,
    "slice_rates": slice_rates,
}


def figures_of(analysis: Analysis) -> dict[str, Callable[[], Figure]]:
    """Return the functions that draw the figures of an analysis, by figure name."""
    figures: dict[str, Callable[[], Figure]] = {name: partial(draw, analysis) for name, draw in FIGURES.items()}
    if found := analysis.robustness:
        figures["robustness"] = partial(draw_robustness, found)
    return figures
