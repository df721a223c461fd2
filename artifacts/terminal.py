"""Terminal output of the commands: results, lists of runs, comparisons, and champions."""

from collections.abc import Iterable, Mapping, Sequence

from artifacts.common import rows as common_rows
from artifacts.common.formatting import counted, interval, percent, probability
from artifacts.report import tables
from artifacts.report.text import all_doubts, change_summary, change_title, false_alarms, gate_summary
from artifacts.screen import Screen
from artifacts.study.text import counted_trainings
from tasks.schemas.analysis import Changes, Check
from tasks.schemas.names import is_automatic
from tasks.schemas.results import Cleared, PredictResult, Pruning, RunResult, StudyResult, VerifiedFile
from tasks.schemas.runs import Champion, CompletedRun, RunRecord, StudyRun, rolled_back_models


def show(result: RunResult, *, explain: bool = False, wide: bool = False) -> None:
    """Print a run's result on standard output.

    With `explain`, show for each step whether its record was cached and, if not, why it was computed. With `wide`, show
    all columns on a narrow terminal, too.
    """
    rows = [
        {
            "model": name,
            "parameters": f"{model.parameters:,}",
            "epochs": f"{model.epochs}",
            "accuracy": percent(model.accuracy),
            "errors": f"{model.errors:,}",
            "loss": f"{model.loss:.4f}",
            "fit": f"{model.fit_seconds:.1f} s",
        }
        for name, model in result.models.items()
    ]
    sentences = (result.verdict, gate_summary(result.decision))
    cached = ", ".join(result.cached)
    _show_result(result, f"run {result.run}", rows, cached, sentences, explain=explain, wide=wide)


def show_study(result: StudyResult, *, explain: bool = False, wide: bool = False) -> None:
    """Print a study's result on standard output, with its steps and columns as in `show`."""
    rows: list[common_rows.Row] = [
        {
            "model": arm.name,
            "parameters": f"{arm.parameters:,}",
            "epochs": arm.epochs,
            "mean accuracy": percent(arm.accuracy.value),
            "95 % interval": interval(arm.accuracy),
            "deviation, points": f"{100 * arm.deviation.value:.3f}",
            "always wrong": arm.always_wrong,
            "fit": f"{arm.fit_seconds:.1f} s",
        }
        for arm in result.arms
    ]
    title = f"{counted_trainings(result.seeds, result.arms)}, study {result.run}"
    cached = f"{len(result.cached)} of {counted(len(result.steps), 'step')}"
    _show_result(result, title, rows, cached, [result.verdict], explain=explain, wide=wide)


def _show_result(
    result: RunResult | StudyResult,
    title: str,
    rows: Sequence[common_rows.Row],
    cached: str,
    sentences: Iterable[str],
    *,
    explain: bool,
    wide: bool,
) -> None:
    """Print the models of a result, its steps, its sentences and omissions, and where its report is."""
    screen = Screen(wide=wide)
    screen.table(rows, f"{result.dataset}, {title}", ("fit", "parameters", "epochs", "always wrong", "loss"))
    if explain:
        screen.table(tables.steps(result.steps), drop=("made by run", "seconds"))
    elif result.cached:
        screen.say(f"cached: {cached}")
    for line in (*sentences, *(one.line for one in result.omitted), f"{result.seconds:.1f} s"):
        screen.say(line)
    screen.path(f"{result.root}/{result.report['html']}", "report:  ")
    if result.url:
        serve = "mnist serve --no-worker, then " if result.needs_serve else ""
        screen.print(f"in the UI:  {serve}{result.url}")


def show_runs(runs: Sequence[RunRecord], studies: Sequence[StudyRun], *, where: str, wide: bool = False) -> None:
    """Print the runs and the studies at a place, with their users' tags, and with `wide` their addresses."""
    screen = Screen(wide=wide)
    rows: list[common_rows.Row] = [
        {
            "run": run.run,
            "dataset": run.dataset,
            "recipe": f"{run.recipe.name}, {counted(run.recipe.epochs, 'epoch')}, seed {run.recipe.seed}",
            "accuracy": ", ".join(f"{one.model} {percent(one.accuracy)}" for one in run.predictions),
        }
        for run in runs
    ]
    if rows:
        screen.table(_with_flow_runs(rows, runs, wide=wide), drop=("recipe", "dataset", "tags"))
    else:
        screen.say(f"no finished runs under {where}")
    if studies:
        found: list[common_rows.Row] = [
            {
                "study": one.run,
                "dataset": one.dataset,
                "arms": ", ".join(one.arms),
                "seeds": len(one.trials) // len(one.arms),
                "result": one.verdict,
            }
            for one in studies
        ]
        screen.table(_with_flow_runs(found, studies, wide=wide), drop=("seeds", "arms", "dataset", "tags"))


def _with_flow_runs(
    rows: Sequence[common_rows.Row], runs: Sequence[CompletedRun], *, wide: bool
) -> list[common_rows.Row]:
    """Return rows of runs with their users' tags, if any run has some, and with `wide` the addresses in Prefect's UI."""
    tags = [", ".join(tag for tag in run.tags if not is_automatic(tag)) for run in runs]
    columns = {"tags": tags} if any(tags) else {}
    columns |= {"url": [run.url or "" for run in runs]} if wide else {}
    return [{**row} | {name: of[place] for name, of in columns.items()} for place, row in enumerate(rows)]


def show_verified_files(run: str, files: Sequence[VerifiedFile]) -> None:
    """Print every file of a run that is missing or altered, and how many files are unchanged."""
    screen = Screen()
    rows = [{"step": file.role, "file": file.path, "fault": file.fault} for file in files if file.fault]
    if rows:
        screen.table(rows)
    unchanged = "all" if not rows else f"{len(files) - len(rows):,}"
    screen.say(f"run {run}: {counted(len(files), 'file')}, {unchanged} unchanged")


def show_pruning(what: Pruning, history: Cleared, *, where: str, removed: bool) -> None:
    """Print which files, runs and flow runs `mnist prune` removes or would remove at a place."""
    screen = Screen()
    for path in what.paths:
        screen.path(path)
    size = f"{what.bytes / 1e6:,.1f} MB"
    done = "removed" if removed else "would remove"
    runs, files, kept = (
        counted(len(what.runs), "run"),
        counted(len(what.files), "other file"),
        counted(len(what.kept), "run"),
    )
    screen.say(f"{done} {runs} and {files}, {size}, under {where}; {'kept' if removed else 'would keep'} {kept}")
    if history.flow_runs:
        screen.say(f"{done} {counted(history.flow_runs, 'flow run')} from Prefect's history, with logs and artifacts")


def show_predictions(result: PredictResult, *, wide: bool = False) -> None:
    """Print the predictions of the models for a user's images, how often they are marked, and where their page is."""
    screen = Screen(wide=wide)
    doubtful = any(one.doubtful for one in result.pictures)
    rows = [
        common_rows.row(
            {"picture": one.path} | ({"doubtful": "; ".join(all_doubts(one))} if doubtful else {}),
            *((name, {"": f"{guess.label}, {probability(guess.probability)}"}) for name, guess in one.guesses.items()),
        )
        for one in result.pictures
    ]
    if rows:
        screen.table(rows, names=("picture",))
        for line in false_alarms(result):
            screen.say(line)
    if result.page:
        screen.path(result.page, "original and prepared images:  ")


def show_changes(changes: Changes, checks: Sequence[Check], page: str, *, wide: bool = False) -> None:
    """Print how two runs or models compare, and where the page of changed images is if there is one."""
    screen = Screen(wide=wide)
    rows = tables.changes(changes)
    screen.table(
        rows, change_title(changes), ("still misclassified", "both misclassified", "p", "95 % interval, points")
    )
    screen.say(change_summary(changes))
    for model, check in zip(changes.models, checks, strict=True):
        screen.say(f"{model.comparison.second}, {check.name}: {'yes' if check.passed else 'no'}, {check.found}")
    if changes.settings:
        screen.table(tables.settings(changes))
    if page:
        screen.path(page, "changed images:  ")


def show_champions(lines: Mapping[str, Sequence[Champion]], *, where: str, wide: bool = False) -> None:
    """Print every champion line at a place by name, and which models a rollback keeps from becoming the champion."""
    screen = Screen(wide=wide)
    for line, champions in lines.items():
        rows = [
            {
                "": "*" if one is champions[-1] else "",
                "since": f"{one.at:%Y-%m-%d %H:%M}",
                "model": one.model.name,
                "accuracy": percent(one.predictions.accuracy),
                "run": one.run,
                "state": state,
            }
            for one, state in zip(champions, _states(champions), strict=True)
        ]
        screen.table(rows, f"champion line {line}", ("since", "accuracy", "state"))
        for one in rolled_back_models(champions):
            screen.say(f"rolled back, not promoted again: {one.title}")
    if not lines:
        screen.say(f"no champion yet under {where}")


def _states(champions: Sequence[Champion]) -> list[str]:
    """Return for each entry of a champion line how it came about, and whether it is in effect or was rolled back."""
    came = {"promoted": "promoted", "rolled back": "restored by a rollback", "lifted": "kept, rollback lifted"}
    later = [*("then rolled back" if one.action == "rolled back" else "" for one in champions[1:]), "in effect"]
    return [", ".join(filter(None, (came[one.action], after))) for one, after in zip(champions, later, strict=True)]
