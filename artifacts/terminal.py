"""The terminal: the end of a run, the list of runs, two runs compared, and the champions."""

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artifacts import tables
from artifacts.words import changed, decided, in_one_line, interval, percent
from tasks.analysis import Changes, Check
from tasks.results import Pruning, RunResult, Shown, StudyResult, Verified
from tasks.runs import Champion, RunRecord, StudyRun

PIPED_WIDTH = 240  # characters: a file or a program has no width, and wants every name in one piece


def standard_output() -> Console:
    """Standard output: as wide as the terminal, or wide enough for any table."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def show(result: RunResult, look_at: str, *, explain: bool = False) -> None:
    """Print a run's result on standard output; with `explain`, which of its steps were found, and why the others were not."""
    console = standard_output()
    table = Table(title=f"{result.dataset}, run {result.run}", title_justify="left")
    for column in ("model", "parameters", "epochs", "accuracy", "errors", "loss", "fit"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, model in result.models.items():
        figures = (f"{model.parameters:,}", f"{model.epochs}", percent(model.accuracy), f"{model.errors:,}")
        table.add_row(name, *figures, f"{model.loss:.4f}", f"{model.fit_seconds:.1f} s")
    console.print(table)
    if explain:
        console.print(table_of(tables.steps(result.steps)))
    elif result.cached:
        console.print(f"found from earlier runs: {', '.join(result.cached)}")
    console.print(result.verdict)
    console.print(decided(result.decision))
    console.print(f"{result.seconds:.1f} s")
    console.print(f"report:  {result.root}/{result.report['html']}")
    console.print(f"in the UI:  {look_at}")


def show_study(result: StudyResult, look_at: str, *, explain: bool = False) -> None:
    """Print a study's result on standard output; with `explain`, which of its steps were found, and why the others were not."""
    console = standard_output()
    rows: list[tables.Row] = [
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
    console.print(table_of(rows, f"{result.dataset}, {len(result.seeds)} seeds, study {result.run}"))
    if explain:
        console.print(table_of(tables.steps(result.steps)))
    elif result.cached:
        console.print(f"found from earlier runs: {len(result.cached)} of {len(result.steps)} steps")
    console.print(result.verdict)
    console.print(f"{result.seconds:.1f} s")
    console.print(f"report:  {result.root}/{result.report['html']}")
    console.print(f"in the UI:  {look_at}")


def table_of(rows: Sequence[tables.Row], title: str = "") -> Table:
    """Rows as a table of the terminal."""
    table = Table(title=title or None, title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")  # a name that is cut short can't be given to a command
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def show_runs(runs: Sequence[RunRecord], studies: Sequence[StudyRun]) -> None:
    """Print the list of runs, and that of studies."""
    console = standard_output()
    rows = [
        {
            "run": run.run,
            "data set": run.dataset,
            "recipe": f"{run.recipe.name}, {run.recipe.epochs} epochs, seed {run.recipe.seed}",
            "accuracy": ", ".join(f"{one.model} {percent(one.accuracy)}" for one in run.predictions),
        }
        for run in runs
    ]
    console.print(table_of(rows) if rows else "no finished run")
    if studies:
        found: list[tables.Row] = [
            {
                "study": one.run,
                "data set": one.dataset,
                "arms": ", ".join(one.arms),
                "seeds": len(one.trials) // len(one.arms),
                "what came out": one.verdict,
            }
            for one in studies
        ]
        console.print(table_of(found))


def show_links(run: str, links: Sequence[Verified]) -> None:
    """Print every file of a run, and whether it is what it was. The records of steps are many, and shown only if broken."""
    console = standard_output()
    shown = [link for link in links if link.fault or link.role != "record"]
    rows = [{"step": link.role, "file": link.path, "": link.fault or "sound"} for link in shown]
    console.print(table_of(rows, f"run {run}"))
    broken = sum(link.fault is not None for link in links)
    console.print(f"{len(links)} files, {broken or 'none'} broken")


def show_pruning(what: Pruning, *, removed: bool) -> None:
    """Print what goes."""
    console = standard_output()
    for path in what.paths:
        console.print(path, markup=False)
    size = f"{what.bytes / 1e6:,.1f} MB"
    done = f"{'removed' if removed else 'would remove'} {len(what.runs)} runs and {len(what.files)} other files, {size}"
    console.print(f"{done}; {len(what.kept)} runs stay")


def show_guesses(shown: Sequence[Shown], page: str) -> None:
    """Print what the models say of pictures."""
    console = standard_output()
    rows = [
        tables.row(
            {"picture": escape(in_one_line(one.path))},
            *((name, {"": f"{guess.label}, {percent(guess.probability)}"}) for name, guess in one.guesses.items()),
        )
        for one in shown
    ]
    if rows:
        console.print(table_of(rows))
    console.print(f"what the network was shown:  {page}")


def show_changes(changes: Changes, checks: Sequence[Check], page: str) -> None:
    """Print how two runs compare."""
    console = standard_output()
    console.print(table_of(tables.changes(changes), f"{changes.now} against {changes.before}"))
    console.print(changed(changes))
    for model, check in zip(changes.models, checks, strict=True):
        console.print(f"{model.now}, {check.name}: {'yes' if check.passed else 'no'}, {check.found}")
    if changes.settings:
        console.print(table_of(tables.settings(changes)))
    console.print(f"pictures:  {page}")


def show_champions(lines: Mapping[str, Sequence[Champion]]) -> None:
    """Print every line of champions."""
    console = standard_output()
    for line, champions in lines.items():
        rows = [
            {
                "": "*" if one is champions[-1] else "",
                "since": f"{one.at:%Y-%m-%d %H:%M}",
                "model": one.model.name,
                "accuracy": percent(one.predictions.accuracy),
                "of run": one.run,
                "how": one.action,
            }
            for one in champions
        ]
        console.print(table_of(rows, line))
    if not lines:
        console.print("no champion yet")


def show_rows(rows: Sequence[tables.Row]) -> None:
    """Print a table."""
    standard_output().print(table_of(rows))
