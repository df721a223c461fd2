"""Tables: the analysis as rows, for Prefect's table artifacts and for the templates alike.

In: an Analysis. Out: lists of rows, each a mapping of column to a text or a finite number.
"""

from collections.abc import Mapping, Sequence

from tasks.analysis import Analysis, ModelAnalysis, Provenance, Share

Row = Mapping[str, str | int | float]


def percent(value: float, digits: int = 2) -> str:
    """A share as a percentage, with a space before the sign as in print."""
    return f"{100 * value:.{digits}f} %"


def interval(share: Share, digits: int = 2) -> str:
    """The interval of a share, in percent."""
    return f"{100 * share.low:.{digits}f} to {100 * share.high:.{digits}f}"


def results(analysis: Analysis) -> list[Row]:
    """One row a model: our figures, and the post's for as many epochs where it published them."""
    return [
        {
            "model": model.name,
            "epochs": model.epochs,
            "accuracy": percent(model.accuracy.value),
            "95 % interval": interval(model.accuracy),
            "errors": model.errors,
            "loss": f"{model.loss:.4f}",
            "parameters": f"{model.parameters:,}",
            "fit": f"{model.fit_seconds:.0f} s",
            "the post": published(model),
        }
        for model in analysis.models
    ]


def published(model: ModelAnalysis) -> str:
    """What the post has for this model: its figure for as many epochs, else all it has."""
    same = [result for result in model.published if result.epochs == model.epochs]
    if same:
        return f"{percent(same[0].accuracy)}, {same[0].errors} errors"
    return ", ".join(f"{percent(result.accuracy)} ({result.epochs} epochs)" for result in model.published) or "-"


def errors_by_label(analysis: Analysis) -> list[Row]:
    """One row a label, the most errors first."""
    return [
        {
            "label": analysis.subject.classes[line.label],
            "images": line.errors[0].total,
            **{
                f"{model.name}{suffix}": value
                for model, errors in zip(analysis.models, line.errors, strict=True)
                for suffix, value in (("", errors.count), (" rate", percent(errors.value)), (" 95 %", interval(errors)))
            },
        }
        for line in analysis.labels
    ]


def patterns(analysis: Analysis) -> list[Row]:
    """One row a (predicted, label) pattern, the commonest first."""
    classes = analysis.subject.classes
    return [
        {
            "predicted": classes[pattern.predicted],
            "label": classes[pattern.label],
            **{model.name: count for model, count in zip(analysis.models, pattern.counts, strict=True)},
        }
        for pattern in analysis.patterns
    ]


def passed_over(provenance: Provenance) -> dict[str, list[str]]:
    """Why mirrors were passed over: each reason with the archives that it was given for."""
    reasons: dict[str, list[str]] = {}
    for archive in provenance.archives:
        for reason in archive.passed_over:
            reasons.setdefault(reason, []).append(archive.name)
    return reasons


def all_tables(analysis: Analysis) -> Sequence[tuple[str, str, list[Row]]]:
    """Every table with its artifact's key and description."""
    title = analysis.subject.title
    return (
        ("results", f"Both models on {title}'s test images, beside the post's figures", results(analysis)),
        ("errors-by-label", "Errors by label, the most first", errors_by_label(analysis)),
        ("patterns", "Errors by (predicted, label), the commonest first", patterns(analysis)),
    )
