"""Commands that maintain a root: verify the files of a run and prune old runs."""
# ruff: noqa: PLC0415  # each command imports what it needs, so that `--help` answers immediately

import logging
from typing import TYPE_CHECKING

import click

from flows.cli.options import JSON, ROOT
from flows.processes.console import echo_json, say
from flows.root_option import resolve_root, root_to_read
from tasks.errors import ChecksumError, VerificationError

if TYPE_CHECKING:
    from tasks.schemas.results import Cleared


@click.command()
@click.argument("run", default="last")
@ROOT
@JSON
def verify(run: str, root: str | None, as_json: bool) -> None:
    """Hash every file of a run again, from the archives to the report, and name the first that is not what it was.

    RUN is the name of a run or a study, the beginning or the end of it, or `last`, which is the default.
    """
    from artifacts.terminal import show_links
    from tasks.history.run_store import find_record, read_run
    from tasks.history.verify import verify_run

    place = root_to_read(root)
    path = find_record(place, run)
    record = read_run(path)
    if isinstance(record, ChecksumError):
        raise VerificationError(
            f"run {path.parent.name} is broken at its own record: {record}; run again to make it anew"
        )
    links = list(verify_run(place, record))
    broken = [link for link in links if link.fault]
    if as_json:
        echo_json({"run": record.run, "sound": not broken, "links": [link.model_dump() for link in links]})
    else:
        show_links(record.run, links)
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise VerificationError(
            f"run {record.run} is broken at {broken[0].role}: {broken[0].fault}{more}; run again to make it anew"
        )


@click.command()
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="How many runs, and how many studies, stay.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@ROOT
@JSON
def prune(keep: int, dry_run: bool, root: str | None, as_json: bool) -> None:
    """Remove all but the last N runs and N studies, and every file that no other refers to.

    The runs of champions stay, as far back as a rollback can go. While runs are under way, it waits for their end. Only files
    go that mnist has made and that nobody has changed since; with --dry-run, nothing is touched.

    Then the flow runs of these runs go from Prefect's history, with their logs and artifacts: at the server of PREFECT_API_URL,
    else from Prefect's own database. What can't be removed there now goes with a later prune.
    """
    from artifacts.terminal import show_pruning
    from flows.server.flow_run_history import clear_history, removable_flow_runs
    from tasks.history.prune import apply_pruning, plan_pruning
    from tasks.storage.locks import exclusive_lock
    from tasks.storage.roots import existing_root, root_to_change, validate_root

    if dry_run:
        what = plan_pruning(existing_root(resolve_root(root)), keep)
        history = removable_flow_runs(what.history)
    else:
        place = validate_root(root_to_change(resolve_root(root)))
        with exclusive_lock(place, "mnist prune", say):
            what = plan_pruning(place, keep, alone=True)
            apply_pruning(place, what)
        history = clear_history(place)  # after the lock is released: the server may be slow
    if as_json:
        echo_json(what.model_dump() | {"removed": not dry_run, "history": history.model_dump()})
    else:
        show_pruning(what, history, removed=not dry_run)
    if history.left:
        say(_left_in_history(history), logging.WARNING)


def _left_in_history(history: "Cleared") -> str:
    """Return the warning about flow runs that remain in Prefect's history."""
    which = "flow run stays" if history.left == 1 else "flow runs stay"
    return f"{history.left} {which} in Prefect's history until a later `mnist prune`: {history.why}"
