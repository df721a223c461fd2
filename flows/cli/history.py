"""Commands about earlier runs: list them, compare two of them, and show or roll back champions.

These commands start no server and do not import TensorFlow; they read the files that runs left under the root.
"""
# ruff: noqa: PLC0415  # each command imports what it needs, so that `--help` answers immediately

from typing import TYPE_CHECKING, Any

import click

from flows.cli.completion import complete_existing_line, complete_run
from flows.cli.options import JSON, ROOT, WIDE_TABLES
from flows.processes.console import echo, echo_json
from flows.root_option import at_root, describe_root, root_to_read, root_with_pages, write_optional_page
from tasks.errors import GateError, NothingFoundError, RunError

if TYPE_CHECKING:
    from tasks.analysis.paired_comparison import PredictionsPair
    from tasks.schemas.runs import RunRecord
    from tasks.storage.backend import Root


@click.command()
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="List only what has this tag, such as line:main. Repeatable."
)
@ROOT
@WIDE_TABLES
@JSON
def runs(tags: tuple[str, ...], root: str | None, wide: bool, as_json: bool) -> None:
    """List the finished runs, then the studies, oldest first."""
    from artifacts.terminal import show_runs
    from tasks.history.run_store import read_runs
    from tasks.schemas.runs import RunRecord, StudyRun

    place = root_to_read(root)
    (found, unreadable), (studies, unreadable_too) = read_runs(place, RunRecord), read_runs(place, StudyRun)
    for fault in (*unreadable, *unreadable_too):
        echo(f"skipped: {fault}", err=True)
    found = [run for run in found if set(tags) <= set(run.tags)]
    studies = [study for study in studies if set(tags) <= set(study.tags)]
    if as_json:
        echo_json({
            name: [one.model_dump(mode="json") | {"tags": one.tags, "url": one.url} for one in kind]
            for name, kind in (("runs", found), ("studies", studies))
        })  # fmt: skip
    else:
        tagged = "".join(f", with the tag {tag}" for tag in tags)
        show_runs(found, studies, where=f"{describe_root(root)}{tagged}", wide=wide)


@click.command("compare")
@click.argument("before", metavar="RUN[:MODEL]", shell_complete=complete_run)
@click.argument("now", metavar="RUN[:MODEL]", shell_complete=complete_run)
@click.option("--fail-if-worse", is_flag=True, help="Exit with code 1 unless the second run is not inferior.")
@click.option(
    "--margin", type=click.FloatRange(0, 100, min_open=True), default=0.5, show_default=True, metavar="POINTS",
    help="Non-inferiority margin, in points of accuracy.",
)  # fmt: skip
@ROOT
@WIDE_TABLES
@JSON
def compare_command(
    before: str, now: str, fail_if_worse: bool, margin: float, root: str | None, wide: bool, as_json: bool
) -> None:
    """Compare two runs on the same test images.

    The comparison shows which images only one of the models misclassifies, and whether the difference is significant.
    If the second run repeats the first one later, these errors are new or fixed.

    RUN is the name of a run, the beginning or the end of a name, or `last`. Models of the same name are compared. With
    MODEL, any two models can be compared, also of one run: `mnist compare last:plain last:batch_norm`.
    """
    from artifacts.report.renderer import changes_page
    from artifacts.report.text import change_title
    from artifacts.terminal import show_changes
    from tasks.analysis.paired_comparison import changes_between, is_repeated_later, not_inferior
    from tasks.engine.workspace import Workspace
    from tasks.storage.folders import Folder
    from tasks.storage.page_records import write_page

    with root_with_pages(root) as (place, unwritable):
        one, other, pairs = _runs_to_compare(place, before, now)
        repeated = is_repeated_later(one, other) and all(first.model == second.model for first, second in pairs)
        changes = changes_between(one, other, pairs, Workspace(root=place, run=other.run), over_time=repeated)
        page, of = changes_page(changes, change_title(changes)), tuple(dict.fromkeys((one.run, other.run)))
        name = f"{Folder.COMPARISONS}/{_page_name(one, other, pairs)}.html"
        written, no_page = write_optional_page(lambda: write_page(place, name, page, of), unwritable)
    checks = [
        not_inferior(model.comparison.first, model.comparison.difference, margin / 100) for model in changes.models
    ]
    if as_json:
        found = {"checks": [check.model_dump() for check in checks], "report": written or None}
        echo_json(changes.model_dump(mode="json") | found)
    else:
        show_changes(changes, checks, f"{place}/{written}" if written else "", wide=wide)
    if no_page:
        echo(f"no page: {no_page}", err=True)
    failed = [check for check in checks if not check.passed]
    if fail_if_worse and failed:
        raise GateError("; ".join(f"{check.name}: no, {check.found}" for check in failed))


def _runs_to_compare(root: "Root", before: str, now: str) -> "tuple[RunRecord, RunRecord, list[PredictionsPair]]":
    """Return the two runs and the pairs of predictions to compare, in the order given.

    A model that is given for one run only is compared with the model of the same name.

    Raises:
        RunError: If there is no such run or model, or if a run or a model is compared with itself.
    """
    from tasks.analysis.paired_comparison import model_pairs
    from tasks.history.run_store import find_run

    (first, model), (second, other) = (text.partition(":")[::2] for text in (before, now))
    one, two = find_run(root, first), find_run(root, second)
    model, other = model or other, other or model
    pairs = [(one.of(model), two.of(other))] if model else model_pairs(one, two)
    if one.run == two.run and model == other:
        models = ", ".join(each.name for each in one.models)
        raise RunError(
            f"can't compare {f'{model} of ' if model else ''}run {one.run} with itself; give another run, or two models "
            f"of this run as {first}:MODEL (it has {models})"
        )
    return one, two, pairs


def _page_name(one: "RunRecord", other: "RunRecord", pairs: "list[PredictionsPair]") -> str:
    """Return the name of the page of a comparison, which differs from that of every other comparison."""
    if len(pairs) > 1 or len(one.models) == len(other.models) == 1:
        return f"{one.run}..{other.run}"
    ((first, second),) = pairs
    return f"{one.run}.{first.model}..{other.run}.{second.model}"


@click.group(invoke_without_command=True)
@ROOT
@WIDE_TABLES
@JSON
@click.pass_context
def champion(context: click.Context, /, **given: Any) -> None:
    """Show the champions, or roll back to the previous champion."""
    if context.invoked_subcommand is None:
        context.invoke(list_champions, **given)
    else:  # options before the subcommand count, too
        context.default_map = {context.invoked_subcommand: given}


@champion.command("list")
@ROOT
@WIDE_TABLES
@JSON
def list_champions(root: str | None, wide: bool, as_json: bool) -> None:
    """List the champions of every line, the current one last.

    A line has the name that was given with --champion-line. If several datasets have a line of this name, it is
    preceded by the name of the dataset, as in mnist:main.
    """
    from artifacts.terminal import show_champions
    from tasks.history.champions import champion_history, champion_lines
    from tasks.schemas.names import line_names

    place = root_to_read(root)
    names = line_names(champion_lines(place), with_dataset=as_json)
    found = {name: champion_history(place, folder) for folder, name in names.items()}
    if as_json:
        echo_json({"lines": {line: [one.model_dump(mode="json") for one in all_] for line, all_ in found.items()}})
    else:
        show_champions(found, where=describe_root(root), wide=wide)


@champion.command()
@click.argument("line", required=False, shell_complete=complete_existing_line)
@click.option("--lift", "lifting", is_flag=True, help="Allow models that were rolled back to become champion again.")
@ROOT
@JSON
def rollback(line: str | None, lifting: bool, root: str | None, as_json: bool) -> None:
    """Restore the previous champion.

    No run promotes the model that is rolled back again, until --lift allows it. LINE is required only if there is more
    than one champion line; `mnist champion list` shows the names of the lines.
    """
    from artifacts.common.formatting import percent
    from tasks.history.champions import find_line, lift_rollback, line_name, roll_back

    with at_root(root) as place:
        which = line_name(find_line(place, line) if line else _only_line(place), place)
        if lifting:
            found = lift_rollback(place, which)
            message = f"may become champion again: {', '.join(one.title for one in found)}"
        else:
            restored = roll_back(place, which)
            found = [restored]
            message = (
                f"the champion is again {restored.title}, {percent(restored.predictions.accuracy)}; no run promotes the "
                f"model that was rolled back until `mnist champion rollback --lift {which}`"
            )
    if as_json:
        entries = [one.model_dump(mode="json") for one in found]
        echo_json({"lifted": entries} if lifting else entries[0])
    else:
        echo(f"{message}; under {describe_root(root)}")


def _only_line(root: "Root") -> str:
    """Return the folder of the only champion line under the root."""
    from tasks.history.champions import champion_lines
    from tasks.schemas.names import line_names

    found = champion_lines(root)
    if len(found) != 1:
        several = f"there are several champion lines; give one of them: {', '.join(line_names(found).values())}"
        if found:
            raise RunError(several)
        raise NothingFoundError(f"there is no champion under {root}; a run that passes the gate makes one")
    return found[0]
