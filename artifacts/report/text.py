"""Sentences and phrases of the report, which every form of the report uses.

They are plain text. Shares are percentages; differences of shares are in percentage points.
"""

from collections.abc import Sequence

from artifacts.common.formatting import (
    UNDEFINED,
    counted,
    interval,
    p_value,
    percent,
    probability,
    range_of,
    rate,
    verdict_on,
    with_interval,
)
from tasks.schemas.analysis import Analysis, Changed, Changes, Decision, ModelAnalysis, ModelChanges
from tasks.schemas.doubt import DoubtLimits
from tasks.schemas.findings import Answer, Comparison, Explanation, LabelIssue, LabelIssues, Share
from tasks.schemas.records import Omission
from tasks.schemas.results import ClassifiedPicture, LeftOut, PredictResult
from tasks.schemas.runs import COMPARISON


def verdict(comparison: Comparison) -> str:
    """Return one sentence that says whether the second model is better than the first, in the order of the comparison."""
    first, second, difference = comparison.first, comparison.second, comparison.difference
    test = f"over {counted(comparison.total, 'image')}, exact McNemar p {p_value(comparison.p, sign=True)}"
    if comparison.tests > 1:
        test += f", corrected for {comparison.tests} pairs"
    return verdict_on(first, second, difference, test, significant=comparison.significant)


def headline(analysis: Analysis) -> str:
    """Return the first sentences of the report: how the most accurate model compares with each other model."""
    if not analysis.comparisons:
        (model,) = analysis.models
        return f"{model.name} has an accuracy of {with_interval(model.accuracy)}."
    best = max(analysis.models, key=lambda model: model.accuracy.value).name
    verdicts = " ".join(verdict(pair) for pair in analysis.comparisons if best in (pair.first, pair.second))
    count = "two" if len(analysis.models) == 2 else f"{len(analysis.models)}"
    return _of_these_trainings(verdicts, count, one_seed=all(len(set(model.seeds)) < 2 for model in analysis.models))


def _of_these_trainings(verdicts: str, models: str, *, one_seed: bool) -> str:
    """Return verdicts on models trained once each, with their limits and the suggestion to run a study.

    `one_seed` is false if an ensemble was trained with several seeds.
    """
    each = " (one seed each)" if one_seed else ""
    verdicts = verdicts.replace("The difference", "the difference", verdicts.startswith("The difference"))
    return f"For these {models} trained models{each}, {verdicts} Run mnist study to test whether other seeds agree."


def sample_sentence(analysis: Analysis) -> str:
    """Return the sentence that says which samples of a large dataset were analyzed."""
    drawn = " and ".join(f"{one.count:,} of the {one.drawn_from:,} {one.split}" for one in analysis.samples)
    return f"The accuracies cover all test images; everything else is computed from {drawn} images, drawn at random."


def accuracies(analysis: Analysis) -> list[str]:
    """Return one line for each model with its accuracy and number of errors."""
    return [
        f"{model.name}: accuracy {with_interval(model.accuracy)}, "
        f"{model.errors:,} of {model.accuracy.total:,} misclassified"
        for model in analysis.models
    ]


def gate_summary(decision: Decision) -> str:
    """Return one sentence on whether a run's best model passed the gate and becomes the champion."""
    if not decision.passed:
        return f"The gate failed: {decision.challenger} does not become the champion."
    if decision.withheld:
        return f"The gate passed, but {decision.challenger} does not become the champion: {decision.withheld}."
    if decision.unchanged:
        return (
            f"The gate passed: {decision.champion} stays the champion, because {decision.challenger} is the same model."
        )
    before = f"replaces {decision.champion} as champion" if decision.champion else "is the first champion"
    return f"The gate passed: {decision.challenger} {before}."


def not_compared(omitted: Sequence[Omission]) -> str:
    """Return one or more sentences that say why a report shows no changes."""
    found = [f"No {one.part}: {one.why}." for one in omitted if one.part.startswith(COMPARISON)]
    return (
        " ".join(found)
        or "There is no earlier run under this root with other models and the same dataset, champion line and test images."
    )


def change_title(changes: Changes) -> str:
    """Return what is compared, in the order given, with the datasets and recipes if they differ.

    If the second run does not repeat the first one later, the tables call the models or runs "first" and "second".
    """
    if changes.over_time:
        return f"{changes.now} compared with {changes.before}"
    pair = changes.models[0]
    if changes.in_one_run:
        return f"{pair.before} (first) and {pair.now} (second) of {changes.now}"
    named = {"dataset": "dataset", "recipe name": "recipe"}
    differing = [(named[one.name], one.before, one.now) for one in changes.settings if one.name in named]
    first = ", ".join(["first", *(f"{kind} {before}" for kind, before, _ in differing)])
    second = ", ".join(["second", *(f"{kind} {now}" for kind, _, now in differing)])
    names = (
        (changes.before, changes.now) if pair.before == pair.now else (pair.comparison.first, pair.comparison.second)
    )
    return f"{names[0]} ({first}) and {names[1]} ({second})"


def answer_titles(changes: Changes, model: ModelChanges) -> tuple[str, str]:
    """Return the titles of the two models' predictions for an image."""
    return ("before", "now") if changes.over_time else (model.comparison.first, model.comparison.second)


def changed_images(changes: Changes, model: ModelChanges) -> list[tuple[str, Sequence[Changed], int]]:
    """Return the two galleries of a pair of models, each with its title, the shown images, and their total number."""
    pair = model.comparison
    worse, better = f"{pair.only_first:,}", f"{pair.only_second:,}"
    if changes.over_time:
        titles = f"{model.now}: {worse} newly misclassified", f"{model.now}: {better} newly correct"
    else:
        titles = f"{worse} misclassified only by {pair.second}", f"{better} misclassified only by {pair.first}"
    return [(titles[0], model.newly_wrong, pair.only_first), (titles[1], model.newly_right, pair.only_second)]


def change_summary(changes: Changes) -> str:
    """Return the differences between two runs, with one sentence for each pair of models."""
    if all(not model.comparison.only_first and not model.comparison.only_second for model in changes.models):
        same = "Both models classify the same images correctly."
        return same if changes.in_one_run else f"The models classify the same images correctly as in {changes.before}."
    verdicts = " ".join(verdict(model.comparison) for model in changes.models)
    count = "two" if len(changes.models) == 1 else f"{2 * len(changes.models)}"
    return _of_these_trainings(verdicts, count, one_seed=all(model.one_seed for model in changes.models))


POST_MACHINE = " Its results were measured on an Intel i5-6300HQ."


def mentions_post(analysis: Analysis) -> bool:
    """Return whether the report mentions the post and must therefore explain the term."""
    return "the post" in analysis.subject.description.lower() or any(model.published for model in analysis.models)


def slices_that_stand_out(analysis: Analysis) -> list[str]:
    """Return a sentence for each slice with a significantly higher error rate than elsewhere.

    The slices are sorted by p-value.
    """
    found = [
        (
            part.p[rank],
            f"{model.name}: {part.feature} {range_of(part)}, {compared_with(part.errors[rank], part.elsewhere[rank])}",
        )
        for part in analysis.slices
        for rank, model in enumerate(analysis.models)
        if part.stands_out(rank)
    ]
    return [f"{text}, corrected p {p_value(p, sign=True)}" for p, text in sorted(found)]


def compared_with(errors: Share, elsewhere: Share) -> str:
    """Return an error rate with its interval and counts, and the error rate of all other images."""
    return (
        f"error rate {percent(errors.value)} ({interval(errors)}; {errors.count} of {errors.total:,}), "
        f"elsewhere {rate(elsewhere)}"
    )


def published(model: ModelAnalysis) -> str:
    """Return the post's result for the model with the same number of epochs, or else all its results."""
    same = [result for result in model.published if result.epochs == model.epochs]
    if same:
        return f"{percent(same[0].accuracy)}, {counted(same[0].errors, 'error')}"
    results = (f"{percent(result.accuracy)} ({counted(result.epochs, 'epoch')})" for result in model.published)
    return ", ".join(results) or UNDEFINED


def describe_patch(explanation: Explanation, label: str, largest: int) -> str:
    """Return the effect of erasing a square on a prediction."""
    if not largest:
        return "the image is too small to erase parts of it"
    if explanation.patch is None:
        return f"no square of up to {largest} x {largest} pixels changes the prediction to {label} when erased"
    edge = explanation.patch.edge
    size = "this pixel" if edge == 1 else f"this {edge} x {edge} square"
    return f"erasing {size} changes the prediction to {label} ({probability(explanation.patch.probability, 0)})"


def describe_neighbors(explanation: Explanation, classes: tuple[str, ...]) -> str:
    """Return the labels of the nearest training images and how unusual the distance to them is."""
    labels = ", ".join(classes[near.label] for near in explanation.neighbors)
    percentile = explanation.nearest_distance_percentile
    if percentile is None:
        return f"nearest training images: {labels}; no prediction is correct, so there is no distance to compare with"
    return f"nearest training images: {labels}; farther away than for {percent(percentile, 0)} of correct predictions"


def describe_answer(answer: Answer, label: int, classes: tuple[str, ...]) -> str:
    """Return a model's prediction for an image with its probability.

    If the prediction is wrong, the probability of the label follows.
    """
    text = f"{classes[answer.predicted]} {probability(answer.probability, 1)}"
    return (
        text if answer.predicted == label else f"{text} ({classes[label]}: {probability(answer.label_probability, 1)})"
    )


def describe_label_issue(issue: LabelIssue) -> str:
    """Return which methods report a label issue, with cleanlab's label quality."""
    who = [name for name, yes in (("all models", issue.by_models), ("cleanlab", issue.by_cleanlab)) if yes]
    quality = UNDEFINED if issue.quality is None else f"{issue.quality:.3f}"
    return f"reported by {' and '.join(who)}; cleanlab's label quality {quality}"


def cleanlab_summary(found: LabelIssues) -> str:
    """Return how many labels cleanlab reports."""
    if found.by_cleanlab is None:
        return "cleanlab cannot report any, because all images have the same label"
    return f"cleanlab reports {counted(found.by_cleanlab, 'image')} ({found.by_both:,} in common)"


def all_doubts(picture: ClassifiedPicture) -> list[str]:
    """Return the doubts about a user's picture, and those about the predictions of each model for it."""
    of_models = (f"{name}: {', '.join(guess.doubts)}" for name, guess in picture.guesses.items() if guess.doubts)
    return [*picture.doubts, *of_models]


def describe_left_out(left_out: LeftOut, *, color: bool) -> str:
    """Return how much of a user's picture its preparation left out."""
    if not left_out.pieces:
        return "nothing left out"
    if color:
        return f"left out: the margins, {percent(left_out.share, 1)} of the picture"
    return f"left out: {probability(left_out.share, 1)} of the ink, in {counted(left_out.pieces, 'piece')}"


def false_alarms(result: PredictResult) -> list[str]:
    """Return a sentence for each model: how often its limits mark predictions that are not doubtful."""
    judged = (f"{name}: {_measured(limits)}." for name, limits in result.limits.items())
    return [*judged, *(f"{name}: doubt can't be judged: {why}." for name, why in result.not_judged.items())]


def _measured(limits: DoubtLimits) -> str:
    """Return the measured rate of false alarms, and on which images it was measured."""
    if limits.labeled:
        correct = counted(limits.false_alarms.total, "correct prediction")
        return (
            f"false alarms: {with_interval(limits.false_alarms)} of {correct} for held-out training images are marked"
        )
    images = counted(limits.false_alarms.total, "test image")
    share = with_interval(limits.false_alarms)
    return f"false alarms: at most {share}, the share of {images} that it marks, rightly or wrongly"


def describe_limits(limits: DoubtLimits) -> str:
    """Return the limits of a model, how they were chosen, and how well they tell wrong predictions from correct ones."""
    kind = "calibrated confidence" if limits.labeled else "confidence"
    found = (
        f"doubtful below a {kind} of {probability(limits.confidence)}, or at a distance of more than {limits.distance:.3g} "
        f"from the nearest of {counted(limits.reference, 'training image')}"
    )
    if limits.caught is None:
        return (
            f"{found}; chosen on {counted(limits.chosen_on, 'test image')} without their labels, because the run held out "
            "too few training images (--validation) to calibrate the confidence"
        )
    caught = f"; {with_interval(limits.caught)} of the wrong predictions are marked" if limits.caught.known else ""
    return f"{found}; chosen on {counted(limits.chosen_on, 'held-out training image')}{caught}"
