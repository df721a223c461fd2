"""Judge whether a run's best model may become the champion, and promote it.

The champion is the best model so far on a set of test images. The gate is the list of checks that a challenger must
pass. The champions' history consists of numbered files that are never changed; the last file names the champion, and
two concurrent runs can't overwrite each other's entry.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from artifacts.common.formatting import percent
from tasks.analysis.baseline import better_than_most_frequent
from tasks.analysis.paired_comparison import (
    compare_paired,
    not_inferior,
    read_required_predictions,
    require_predictions,
)
from tasks.config.recipe import Gate
from tasks.data.predictions_parquet import read_predictions
from tasks.engine.cached_task import uncached_step
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.history.champions import append_entry, champion_history, line_name
from tasks.history.comparable_runs import current_champion_line
from tasks.schemas.analysis import Check, Decision
from tasks.schemas.findings import Estimate
from tasks.schemas.records import ModelRecord, Omission, PredictionsRecord
from tasks.schemas.runs import Champion, RunRecord, champion_line, rolled_back_models


@uncached_step("judge", always_runs="another run may have changed the champion")
def judge(run: RunRecord, work: Workspace) -> Decision:
    """Decide whether the run's best model may become the champion.

    If the history can't be read, the model may not become the champion. If the champion's predictions are missing, only
    its accuracy is compared.

    Raises:
        StorageError: If the predictions of the run's best model are missing or altered.
    """
    champions: list[Champion] | None = None
    omitted: list[Omission] = []
    line = champion_line(run)
    with optional("comparison with the champion", omitted):
        line = current_champion_line(run, work.root)
        champions = champion_history(work.root, line)
    decision = decision_of(run, champions or (), line, work)
    if champions is None:
        decision = decision.model_copy(update={"withheld": omitted[0].why, "omitted": tuple(omitted)})
    for check in decision.checks:
        log(f"{decision.challenger}, {check.name}: {'yes' if check.passed else 'no'}, {check.found}")
    if decision.withheld:
        log(f"{decision.challenger} does not become the champion: {decision.withheld}")
    return decision


def decision_of(run: RunRecord, champions: Sequence[Champion], line: str, work: Workspace) -> Decision:
    """Return the decision against the last of the `champions` of a line, if there is one.

    Raises:
        StorageError: If the predictions of the run's best model are missing or altered.
    """
    gate, best = run.recipe.gate(run.dataset, run.test.content_sha256), run.best
    checks = [*bounds(best, gate), better_than_most_frequent(read_required_predictions(best, work))]
    omitted: list[Omission] = []
    if champions:
        checks.append(_compare_with_champion(champions[-1], best, gate, work, omitted))
    return Decision(
        challenger=best.model,
        champion=champions[-1].title if champions else None,
        margin=gate.margin,
        checks=tuple(checks),
        withheld=_why_not_promoted_again(run, champions, line, work),
        unchanged=bool(champions) and _is_champion(best, champions[-1]),
        omitted=tuple(omitted),
    )


def _is_champion(best: PredictionsRecord, champion: Champion) -> bool:
    """Return whether the model that made some predictions already is the champion."""
    return champion.predictions.file == best.file


def _why_not_promoted_again(run: RunRecord, champions: Sequence[Champion], line: str, work: Workspace) -> str:
    """Return why a rollback prevents the run's best model from becoming the champion again.

    Returns:
        An empty string if no rollback prevents it.
    """
    best = _best_model(run)
    if not any(one.model.file.sha256 == best.file.sha256 for one in rolled_back_models(champions)):
        return ""
    return f"it was rolled back; `mnist champion rollback --lift {line_name(line, work.root)}` allows it again"


def _best_model(run: RunRecord) -> ModelRecord:
    """Return the model that made the run's best predictions."""
    return next(model for model in run.models if model.name == run.best.model)


def _compare_with_champion(
    champion: Champion, best: PredictionsRecord, gate: Gate, work: Workspace, omitted: list[Omission]
) -> Check:
    """Check whether a model may replace the champion.

    If the model is the champion itself, the check passes without a test. If the champion's predictions can't be read,
    the comparison uses the two accuracies alone and adds an entry to `omitted`.
    """
    from tasks.analysis.statistics import difference_of, share_estimate  # noqa: PLC0415  # statistics libraries take seconds to import

    if _is_champion(best, champion):
        return Check(name="not inferior to the champion", passed=True, found="it is the champion itself")
    given = read_required_predictions(best, work)
    with optional(f"paired comparison with the champion, {champion.title}", omitted):
        before = read_predictions(require_predictions(champion.predictions, work))
        difference = compare_paired(before, given, ("champion", best.model)).difference
        return _check_against("the champion", difference, gate)
    one, other = (share_estimate(each.count - each.errors, each.count) for each in (champion.predictions, best))
    return _check_against("the champion by accuracy alone", difference_of(one, other), gate)


def _check_against(first: str, difference: Estimate, gate: Gate) -> Check:
    """Check a difference in accuracy for non-inferiority if the gate has a margin, else for significant inferiority."""
    return not_inferior(first, difference, gate.margin) if gate.margin else _not_worse(first, difference)


def bounds(best: PredictionsRecord, gate: Gate) -> list[Check]:
    """Check whether the accuracy lies between the gate's floor and ceiling."""
    return [
        Check(
            name="above the floor",
            passed=best.accuracy > gate.floor or not gate.floor,
            found=f"{percent(best.accuracy)} against {percent(gate.floor)}"
            if gate.floor
            else "the recipe sets no floor",
        ),
        Check(
            name="below the ceiling",
            passed=best.accuracy < gate.ceiling or gate.ceiling == 1,
            found=f"{percent(best.accuracy)} against {percent(gate.ceiling)}"
            if gate.ceiling < 1
            else "the recipe sets no ceiling",
        ),
    ]


def _not_worse(first: str, difference: Estimate) -> Check:
    """Check that the second of two models is not shown to be worse than the `first`.

    The upper bound of the confidence interval of the difference must not be negative.
    """
    return Check(
        name=f"not significantly worse than {first}",
        passed=difference.high >= 0,
        found=difference.points,
    )


@uncached_step("promote", always_runs="the gate decides on each run")
def promote(run: RunRecord, decision: Decision, work: Workspace) -> Champion | None:
    """Make the run's best model the champion if the decision promotes it.

    If the champion has changed since the decision, the decision is made again against the new champion.

    Returns:
        The champion's entry, which is that of another run if that run has just promoted the same model. None if the
        model does not become the champion, or if it already was the champion at the time of the decision.

    Raises:
        StorageError: If the entry can't be written.
    """
    if not decision.promotes:
        return None
    best, line = run.best, current_champion_line(run, work.root)
    champions = champion_history(work.root, line)
    while decision.promotes:
        entry = Champion(
            number=champions[-1].number + 1 if champions else 1,
            at=datetime.now(UTC),
            action="promoted",
            dataset=run.dataset,
            run=run.run,
            model=_best_model(run),
            predictions=best,
            rollback_to=champions[-1].number if champions else None,
        )
        if decision.champion == (champions[-1].title if champions else None):
            try:
                return append_entry(entry, line, work.root)
            except FileExistsError:
                champions = _longer_history(entry, line, work)
        decision = decision_of(run, champions, line, work)
    return champions[-1] if decision.unchanged else None  # another run has just promoted the same model


def _longer_history(entry: Champion, line: str, work: Workspace) -> list[Champion]:
    """Return the history of a line after another process wrote the entry with the same number.

    Raises:
        StorageError: If the history lacks that entry, and another attempt would fail in the same way.
    """
    champions = champion_history(work.root, line)
    if not any(one.number == entry.number for one in champions):
        raise StorageError(
            f"can't add entry {entry.number:06}.json to the champions in {line}: the file exists, but is not listed; "
            "check the folder of the champions under the root"
        )
    return champions
