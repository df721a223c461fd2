"""Champion: the best model so far on a set of test images, and the gate that a run's best model must pass to follow it.

In: the record of a run. Out: a Decision; and, where it is passed, one more entry in the champions' history.
Entries are numbered files that are made and never changed: the last is the champion, and two runs can't overwrite each other.
"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.analysis import Check, Decision
from tasks.compare import compared, read
from tasks.errors import RunError, StorageError
from tasks.findings import Comparison
from tasks.floor import better_than_most_frequent
from tasks.folders import Folder
from tasks.log import say
from tasks.recipe import Gate
from tasks.records import PredictionsRecord
from tasks.runs import MAIN, Champion, RunRecord
from tasks.sealed import may_be_sealed, read_sealed, write_sealed
from tasks.step import STEP_SECONDS
from tasks.store import Root, matching
from tasks.workspace import Workspace

FOLDER = Folder.CHAMPIONS
LINE = re.compile(r"[a-z][a-z0-9_]*-[0-9a-f]{12}(-[a-z0-9_]+)?")  # as `line_of` names it
ENTRY = "[0-9]" * 6 + ".json"  # other files are not ours


def line_of(run: RunRecord) -> str:
    """The folder of a run's champions: other test images or labels, and other named lines, have champions of their own."""
    content = f"{run.test.pixels_sha256} {run.test.archives[1]}"
    images = f"{run.dataset}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return images if run.line == MAIN else f"{images}-{run.line}"


def history(root: Root, line: str) -> list[Champion]:
    """All entries of a line, the champion last.

    Raises:
        StorageError: an entry can't be read.
    """
    try:
        return [read_sealed(path, Champion) for path in matching(root, f"{FOLDER}/{line}/{ENTRY}")]
    except OSError as error:
        raise StorageError(f"can't read the champions: {error}; put the file back, or move its folder away") from error


def entry_of(champions: Sequence[Champion], number: int) -> Champion:
    """The entry of a number in a line's history.

    Raises:
        StorageError: it is gone, so that nobody knows which run it names.
    """
    found = next((entry for entry in champions if entry.number == number), None)
    if found is None:
        raise StorageError(
            f"can't read the champions: entry {number:06}.json is gone; put the file back, or move its folder away"
        )
    return found


def may_be_entry(path: Root) -> bool:
    """Whether a file may be an entry, be it broken: others may have folders among ours, with numbered files."""
    return bool(LINE.fullmatch(path.parent.name)) or may_be_sealed(path)


def lines(root: Root) -> list[str]:
    """All lines under the root."""
    return sorted({path.parent.name for path in matching(root, f"{FOLDER}/*/{ENTRY}") if may_be_entry(path)})


@task(task_run_name="judge", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def judge(run: RunRecord, work: Workspace) -> Decision:
    """Whether the run's best model may follow the champion.

    Raises:
        StorageError: the champions' history can't be read, or the predictions of either are gone or altered.
    """
    decision = decision_of(run, history(work.root, line_of(run)), work)
    for check in decision.checks:
        say(f"{decision.challenger}, {check.name}: {'yes' if check.passed else 'no'}, {check.found}")
    return decision


def decision_of(run: RunRecord, champions: Sequence[Champion], work: Workspace) -> Decision:
    """The decision against the last of `champions`, if there is any."""
    gate, best = run.recipe.gate(run.dataset), run.best
    checks = [*bounds(best, gate), better_than_most_frequent(read(best, work))]
    if champions:
        checks.append(against(champions[-1], best, gate, work))
    return Decision(
        challenger=best.model,
        champion=champions[-1].title if champions else None,
        margin=gate.margin,
        checks=tuple(checks),
    )


def against(champion: Champion, best: PredictionsRecord, gate: Gate, work: Workspace) -> Check:
    """Whether a model can take the champion's place; the champion's own predictions need no test."""
    if champion.predictions.file == best.file:
        return Check(name="not inferior to the champion", passed=True, found="it is the champion itself")
    comparison = compared(read(champion.predictions, work), read(best, work), ("champion", best.model))
    return not_inferior(comparison, gate.margin) if gate.margin else not_worse(comparison)


def bounds(best: PredictionsRecord, gate: Gate) -> list[Check]:
    """Whether the accuracy lies between floor and ceiling."""
    return [
        Check(
            name="above the floor",
            passed=best.accuracy > gate.floor or not gate.floor,
            found=f"{percent(best.accuracy)} against {percent(gate.floor)}" if gate.floor else "the recipe names none",
        ),
        Check(
            name="not too good to be true",
            passed=best.accuracy < gate.ceiling or gate.ceiling == 1,
            found=f"{percent(best.accuracy)} against {percent(gate.ceiling)}"
            if gate.ceiling < 1
            else "the recipe names no bound",
        ),
    ]


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.2f} %"


def not_inferior(comparison: Comparison, margin: float) -> Check:
    """Whether the second of two is shown to be no worse than the first by more than the margin."""
    return Check(
        name=f"not inferior to {comparison.first} by {100 * margin:g} points or more",
        passed=comparison.difference.low > -margin,
        found=comparison.difference.points,
    )


def not_worse(comparison: Comparison) -> Check:
    """Whether the second of two is not shown to be worse than the first."""
    return Check(
        name=f"not worse than {comparison.first} beyond chance",
        passed=comparison.difference.high >= 0,
        found=comparison.difference.points,
    )


@task(task_run_name="promote", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def promote(run: RunRecord, decision: Decision, work: Workspace) -> Champion | None:
    """Make the run's best model the champion if it passed, and is not the champion already; None if it did not pass.

    Where another run has made a champion in the meantime, the decision is taken again, against that one.

    Raises:
        StorageError: the entry can't be written.
    """
    best, champions = run.best, history(work.root, line_of(run))
    while decision.passed:
        if champions and champions[-1].predictions.file == best.file:
            return champions[-1]  # it is the champion already
        entry = Champion(
            number=champions[-1].number + 1 if champions else 1,
            at=datetime.now(UTC),
            action="promoted",
            dataset=run.dataset,
            run=run.run,
            model=next(model for model in run.models if model.name == best.model),
            predictions=best,
            below=champions[-1].number if champions else None,
        )
        if decision.champion == (champions[-1].title if champions else None):
            with contextlib.suppress(FileExistsError):
                return append(entry, line_of(run), work.root)
        champions = history(work.root, line_of(run))
        decision = decision_of(run, champions, work)
    return None


def append(entry: Champion, line: str, root: Root) -> Champion:
    """Write the next entry of a line.

    Raises:
        FileExistsError: another process was first.
        StorageError: it can't be written.
    """
    write_sealed(root / FOLDER / line / f"{entry.number:06}.json", entry, new=True)
    return entry


def roll_back(root: Root, line: str) -> Champion:
    """Make the champion before the present one the champion again; done again, it goes back further.

    Raises:
        RunError: there is none before.
        StorageError: the history can't be read, or lacks an entry, or the new entry can't be written.
    """
    champions = history(root, line)
    below = champions[-1].below if champions else None
    if below is None:
        raise RunError(f"there is no champion of {line} to go back to")
    former = entry_of(champions, below)
    now = {"number": champions[-1].number + 1, "at": datetime.now(UTC), "action": "rolled back"}
    try:
        return append(former.model_copy(update=now), line, root)
    except FileExistsError as error:
        raise RunError(
            f"another run has just changed the champion of {line}; look at the list, and try again"
        ) from error
