"""Tables of the report, for Prefect's table artifacts and for the templates.

A table is a list of rows; a row maps each column to a text or a finite number.
"""

from collections.abc import Sequence

from artifacts.common.formatting import (
    FEW,
    estimate,
    interval,
    interval_of_difference,
    p_value,
    percent,
    range_of,
    rate,
    significant,
)
from artifacts.common.rows import HOLM, Row, TableArtifact, p_value_cells, row
from artifacts.report.text import published
from tasks.schemas.analysis import Analysis, Changes, Decision, StepLine
from tasks.schemas.findings import Comparison, LabelIssues, Share
from tasks.schemas.robustness import AccuracyGap, Robustness

_MAX_ROWS = 200  # rows of a table that go into Prefect's database


def results(analysis: Analysis) -> list[Row]:
    """Return one row for each model: its results, and the post's results if the post published any for these models."""
    compared = any(model.published for model in analysis.models)
    return [
        {
            "model": model.name,
            "epochs": model.epochs,
            "accuracy": percent(model.accuracy.value),
            "95 % interval": interval(model.accuracy),
            "errors": model.errors,
            "loss": f"{model.calibration.log_loss.value:.4f}",
            "parameters": f"{model.parameters:,}",
            "fit": f"{model.fit_seconds:.0f} s",
            **({"the post": published(model)} if compared else {}),
        }
        for model in analysis.models
    ]


def pairs(analysis: Analysis) -> list[Row]:
    """Return one row for each pair of models: their difference, and whether it is significant."""
    return [
        {
            "models": f"{pair.second} minus {pair.first}",
            **_difference(pair),
            "correct where the other is wrong": f"{pair.second} {pair.only_second:,}, {pair.first} {pair.only_first:,}",
            **p_value_cells(pair.p),
        }
        for pair in analysis.comparisons
    ]


def _difference(pair: Comparison | AccuracyGap) -> Row:
    """Return the cells that state the difference of two models."""
    return {
        "difference, points": f"{100 * pair.difference.value:+z.2f}",
        "95 % interval, points": interval_of_difference(pair.difference),
    }


def probabilities(analysis: Analysis) -> list[Row]:
    """Return one row for each model: how well its probabilities are calibrated."""
    return [
        {
            "model": model.name,
            "log-loss": estimate(model.calibration.log_loss),
            "Brier score": estimate(model.calibration.brier),
            "expected calibration error": estimate(model.calibration.expected_error),
        }
        for model in analysis.models
    ]


def errors_by_label(analysis: Analysis) -> list[Row]:
    """Return one row for each label, the label with the most errors first."""
    few = len(analysis.models) <= FEW
    between = [f"{pair.first} or {pair.second}" for pair in analysis.comparisons if few]
    return [
        row(
            {"label": analysis.subject.classes[line.label], "images": line.errors[0].total},
            *((model.name, _counted(errors, "")) for model, errors in zip(analysis.models, line.errors, strict=True)),
            *((pair, {": p": p_value(p)}) for pair, p in zip(between, line.p if few else (), strict=True)),
            *(
                (pair, {": significant": significant(p)})
                for pair, p in zip(between, line.p if few else (), strict=True)
            ),
        )
        for line in analysis.labels
    ]


def _counted(errors: Share, headed: str) -> Row:
    """Return the cells of an error rate, with the count in the column `headed`."""
    return {headed: errors.count, " rate": rate(errors), " 95 %": interval(errors)}


def patterns(analysis: Analysis) -> list[Row]:
    """Return one row for each (label, predicted) pattern, the most frequent first."""
    classes = analysis.subject.classes
    return [
        row(
            {"label": classes[pattern.label], "predicted": classes[pattern.predicted]},
            *((model.name, {"": count}) for model, count in zip(analysis.models, pattern.counts, strict=True)),
        )
        for pattern in analysis.patterns
    ]


def slices(analysis: Analysis) -> list[Row]:
    """Return one row for each slice, with each model's error rate and whether it stands out."""
    return [
        row(
            {"feature": part.feature, "range": range_of(part), "images": part.errors[0].total},
            *(
                (
                    model.name,
                    {
                        **_counted(part.errors[rank], " errors"),
                        " p": p_value(part.p[rank]),
                        " stands out": "yes" if part.stands_out(rank) else "no",
                    },
                )
                for rank, model in enumerate(analysis.models)
            ),
        )
        for part in analysis.slices
    ]


def groups(analysis: Analysis) -> list[Row]:
    """Return one row for each way in which two models agree or disagree."""
    return [{"images": group.count, "outcome": group.name} for group in analysis.groups]


def label_issue_patterns(analysis: Analysis, found: LabelIssues) -> list[Row]:
    """Return one row for each (label, predicted) pair of the label issues that all models agree on."""
    classes = analysis.subject.classes
    return [
        {"label": classes[line.label], "predicted by all models": classes[line.predicted], "images": line.count}
        for line in found.patterns
    ]


def checks(decision: Decision) -> list[Row]:
    """Return one row for each condition of the gate."""
    return [
        {"check": check.name, "passed": "yes" if check.passed else "no", "found": check.found}
        for check in decision.checks
    ]


def robustness(found: Robustness) -> list[Row]:
    """Return one row for each model: its accuracy on the original and on the corrupted images."""
    return [
        {
            "model": model.model,
            "original": percent(model.clean.value),
            "95 % interval": interval(model.clean),
            "corrupted, mean": percent(model.mean.value),
            "95 % interval of the mean": interval(model.mean),
        }
        for model in found.models
    ]


def gaps(found: Robustness) -> list[Row]:
    """Return one row for each pair of models: the difference of their mean accuracies over all corrupted images."""
    return [{"models": f"{gap.second} minus {gap.first}", **_difference(gap)} for gap in found.gaps]


def corruptions(found: Robustness) -> list[Row]:
    """Return one row for each corruption and severity."""
    return [
        row(
            {"corruption": kind, "severity": number + 1},
            *(
                (model.model, {"": percent(right.value), " 95 %": interval(right)})
                for model in found.models
                for right in [model.right[kind][number]]
            ),
        )
        for kind, forms in found.examples.items()
        for number in range(len(forms))
    ]


def changes(found: Changes) -> list[Row]:
    """Return one row for each pair of models; the differences are those of the second model minus the first."""
    only_first, only_second, both = (
        ("newly misclassified", "newly correct", "still misclassified")
        if found.over_time
        else ("first-only correct", "second-only correct", "both misclassified")
    )
    return [
        {
            "model": model.now if model.now == model.before else f"{model.now} minus {model.before}",
            only_first: model.comparison.only_first,
            only_second: model.comparison.only_second,
            both: model.comparison.both_wrong,
            **_difference(model.comparison),
            "p": p_value(model.comparison.p),
        }
        for model in found.models
    ]


def settings(found: Changes) -> list[Row]:
    """Return one row for each difference between the settings of two runs."""
    first, second = ("before", "now") if found.over_time else ("first", "second")
    return [{"setting": one.name, first: one.before, second: one.now} for one in found.settings]


def steps(lines: Sequence[StepLine]) -> list[Row]:
    """Return one row for each step: whether its record was cached and, if not, why it was computed."""
    return [
        {
            "step": line.name,
            "cached": "yes" if line.cached else "no",
            "reason to compute": "" if line.cached else line.origin.why,
            "made by run": line.origin.run if line.cached else "this run",
            "seconds": f"{line.origin.seconds:.2f}",
        }
        for line in lines
    ]


def all_tables(analysis: Analysis) -> Sequence[TableArtifact]:
    """Return every table of the analysis with its artifact's key and description.

    A table is limited to its first 200 rows, because Prefect keeps artifacts in its database.
    """
    models = f"All models on the test images of {analysis.subject.title}"
    whole = (
        ("results", f"{models}, with the results of the 2018 blog post for MNIST", results(analysis)),
        ("errors-by-label", f"Errors by label, most errors first; {HOLM}", errors_by_label(analysis)),
        ("patterns", "Errors by label and prediction, most frequent first", patterns(analysis)),
        ("slices", f"Errors by slice of measured image features; {HOLM}", slices(analysis)),
    )
    return [(key, f"{says}{_first_of(rows)}", rows[:_MAX_ROWS]) for key, says, rows in whole]


def _first_of(rows: Sequence[Row]) -> str:
    """Return the note on omitted rows for a table's description."""
    return f" (the first {_MAX_ROWS} of {len(rows):,})" if len(rows) > _MAX_ROWS else ""
