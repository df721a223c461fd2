"""Champion: the best model so far on a set of test images, and the gate that a run's best model must pass to follow it.

In: the record of a run. Out: a Decision; and, where it is passed, one more entry in the champions' history.
Entries are numbered files that are made and never changed: the last is the champion, and two runs can't overwrite each other.
"""

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.analysis.baseline import better_than_most_frequent
from tasks.analysis.paired_comparison import compare_paired, read_required_predictions, require_predictions
from tasks.config.recipe import Gate
from tasks.engine.cached_task import STEP_SECONDS
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.history.champions import append_entry, champion_history
from tasks.schemas.analysis import Check, Decision
from tasks.schemas.findings import Estimate
from tasks.schemas.records import ModelRecord, Omission, PredictionsRecord
from tasks.schemas.runs import Champion, RunRecord, champion_line, held_down


@task(task_run_name="judge", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def judge(run: RunRecord, work: Workspace) -> Decision:
    """Whether the run's best model may follow the champion.

    Without a history that can be read, it may not. Without the champion's predictions, the champion's accuracy decides.

    Raises:
        StorageError: the predictions of the run's best model are gone or altered.
    """
    champions: list[Champion] | None = None
    omitted: list[Omission] = []
    with optional("comparison with the champion", omitted):
        champions = champion_history(work.root, champion_line(run))
    decision = decision_of(run, champions or (), work)
    if champions is None:
        decision = decision.model_copy(update={"withheld": omitted[0].why, "omitted": tuple(omitted)})
    for check in decision.checks:
        log(f"{decision.challenger}, {check.name}: {'yes' if check.passed else 'no'}, {check.found}")
    if decision.withheld:
        log(f"{decision.challenger} does not become the champion: {decision.withheld}")
    return decision


def decision_of(run: RunRecord, champions: Sequence[Champion], work: Workspace) -> Decision:
    """The decision against the last of `champions`, if there is any.

    Raises:
        StorageError: the predictions of the run's best model are gone or altered.
    """
    gate, best = run.recipe.gate(run.dataset), run.best
    checks = [*bounds(best, gate), better_than_most_frequent(read_required_predictions(best, work))]
    omitted: list[Omission] = []
    if champions:
        checks.append(_compare_with_champion(champions[-1], best, gate, work, omitted))
    return Decision(
        challenger=best.model,
        champion=champions[-1].title if champions else None,
        margin=gate.margin,
        checks=tuple(checks),
        withheld=_why_held_down(run, champions),
        omitted=tuple(omitted),
    )


def _why_held_down(run: RunRecord, champions: Sequence[Champion]) -> str:
    """Why a rollback keeps the run's best model from becoming the champion again; empty if none does."""
    best = _best_model(run)
    if not any(one.model.file.sha256 == best.file.sha256 for one in held_down(champions)):
        return ""
    return f"it was rolled back, and stays down until `mnist champion rollback --lift {champion_line(run)}`"


def _best_model(run: RunRecord) -> ModelRecord:
    """The model of a run's best predictions."""
    return next(model for model in run.models if model.name == run.best.model)


def _compare_with_champion(
    champion: Champion, best: PredictionsRecord, gate: Gate, work: Workspace, omitted: list[Omission]
) -> Check:
    """Whether a model can take the champion's place; the champion's own predictions need no test.

    Raises:
        StorageError: the model's predictions are gone or altered.
    """
    from tasks.analysis.statistics import difference_of, share_estimate  # noqa: PLC0415  # its libraries take seconds to import

    if champion.predictions.file == best.file:
        return Check(name="not inferior to the champion", passed=True, found="it is the champion itself")
    given = read_required_predictions(best, work)
    with optional(f"comparison with the champion, {champion.title}, image by image", omitted):
        require_predictions(champion.predictions, work)
        difference = compare_paired(
            read_required_predictions(champion.predictions, work), given, ("champion", best.model)
        ).difference
        return _check_against("champion", difference, gate)
    one, other = (share_estimate(each.count - each.errors, each.count) for each in (champion.predictions, best))
    return _check_against("champion, by its accuracy alone,", difference_of(one, other), gate)


def _check_against(first: str, difference: Estimate, gate: Gate) -> Check:
    """Whether a gate lets a model follow another."""
    return not_inferior(first, difference, gate.margin) if gate.margin else _not_worse(first, difference)


def bounds(best: PredictionsRecord, gate: Gate) -> list[Check]:
    """Whether the accuracy lies between floor and ceiling."""
    return [
        Check(
            name="above the floor",
            passed=best.accuracy > gate.floor or not gate.floor,
            found=f"{_percentage(best.accuracy)} against {_percentage(gate.floor)}"
            if gate.floor
            else "the recipe names none",
        ),
        Check(
            name="not too good to be true",
            passed=best.accuracy < gate.ceiling or gate.ceiling == 1,
            found=f"{_percentage(best.accuracy)} against {_percentage(gate.ceiling)}"
            if gate.ceiling < 1
            else "the recipe names no bound",
        ),
    ]


def _percentage(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.2f} %"


def not_inferior(first: str, difference: Estimate, margin: float) -> Check:
    """Whether the second of two is shown to be no worse than the `first` by more than the margin."""
    return Check(
        name=f"not inferior to {first} by {100 * margin:g} points or more",
        passed=difference.low > -margin,
        found=difference.points,
    )


def _not_worse(first: str, difference: Estimate) -> Check:
    """Whether the second of two is not shown to be worse than the `first`."""
    return Check(
        name=f"not worse than {first} beyond chance",
        passed=difference.high >= 0,
        found=difference.points,
    )


@task(task_run_name="promote", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def promote(run: RunRecord, decision: Decision, work: Workspace) -> Champion | None:
    """Make the run's best model the champion if it passed, and is not the champion already; None if it did not become that.

    Where another run has made a champion in the meantime, the decision is taken again, against that one.

    Raises:
        StorageError: the entry can't be written.
    """
    if not decision.promotes:
        return None
    best, champions = run.best, champion_history(work.root, champion_line(run))
    while decision.promotes:
        if champions and champions[-1].predictions.file == best.file:
            return champions[-1]  # it is the champion already
        entry = Champion(
            number=champions[-1].number + 1 if champions else 1,
            at=datetime.now(UTC),
            action="promoted",
            dataset=run.dataset,
            run=run.run,
            model=_best_model(run),
            predictions=best,
            below=champions[-1].number if champions else None,
        )
        if decision.champion == (champions[-1].title if champions else None):
            with contextlib.suppress(FileExistsError):
                return append_entry(entry, champion_line(run), work.root)
        champions = champion_history(work.root, champion_line(run))
        decision = decision_of(run, champions, work)
    return None
