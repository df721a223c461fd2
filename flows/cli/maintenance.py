"""Commands that maintain a root and an installation: verify the files of a run, prune old runs, and find faults."""
# ruff: noqa: PLC0415  # each command imports what it needs, so that `--help` answers immediately

import logging
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from flows.cli.completion import complete_run_or_study
from flows.cli.options import JSON, ROOT
from flows.processes.console import echo_json, say
from flows.root_option import describe_root, resolve_root, root_to_read, saying_where
from tasks.errors import ChecksumError, DiagnosisError, VerificationError

if TYPE_CHECKING:
    from tasks.schemas.results import Cleared


@click.command()
@click.argument("run", default="last", shell_complete=complete_run_or_study)
@ROOT
@JSON
def verify(run: str, root: str | None, as_json: bool) -> None:
    """Verify the hashes of all files of a run.

    Every file is hashed again, from the archives to the report. Files that are missing or altered are listed, the
    others are counted. If there is such a file, the exit code is 1. With --json, all files are listed.

    RUN is the name of a run or a study, the beginning or the end of a name, or `last`, which is the default.
    """
    from tasks.history.run_store import find_record, read_run

    place = root_to_read(root)
    with saying_where(root):
        path = find_record(place, run)
    record = read_run(path)
    if isinstance(record, ChecksumError):
        raise VerificationError(
            f"the record of run {path.parent.name} is invalid: {record}; run again to create a new run"
        )
    from artifacts.terminal import show_verified_files
    from flows.cli.progress import BYTES, counted_progress
    from tasks.history.verify import verify_run  # imports pyarrow, which takes as long as all other imports

    with counted_progress("verify", sum(entry.file.bytes for entry in record.manifest), BYTES) as advance:
        files = list(verify_run(place, record, advance))
    broken = [file for file in files if file.fault]
    if as_json:
        echo_json({"run": record.run, "sound": not broken, "links": [file.model_dump() for file in files]})
    else:
        show_verified_files(record.run, files)
    if broken:
        more = f" (and {len(broken) - 1:,} more, listed above)" if len(broken) > 1 else ""
        raise VerificationError(
            f"run {record.run} failed verification at {broken[0].role}: {broken[0].fault}{more}; run again to recreate "
            f"the {'files' if more else 'file'}"
        )


@click.command()
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="Number of runs, and number of studies, to keep.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@ROOT
@JSON
def prune(keep: int, dry_run: bool, root: str | None, as_json: bool) -> None:
    """Remove all but the last N runs and N studies.

    Files that no other run or study refers to are removed with them, but only files that mnist made and that nobody has
    changed since. The runs of champions are kept, as far back as a rollback can go. The command waits for runs in
    progress to end.

    The flow runs of the removed runs are removed from Prefect's history, with their logs and artifacts: from the server
    in PREFECT_API_URL, otherwise from Prefect's own database. A later prune removes those that can't be removed now.
    """
    from functools import partial

    from artifacts.terminal import show_pruning
    from flows.cli.progress import BYTES, show_progress, watched_files
    from flows.processes.settings_files import without_new_home
    from flows.server.flow_run_history import clear_history, removable_flow_runs
    from tasks.history.prune import apply_pruning, plan_pruning
    from tasks.storage.roots import existing_root, root_to_change, validate_root
    from tasks.storage.storage import storage_of

    with saying_where(root):
        place = existing_root(resolve_root(root)) if dry_run else validate_root(root_to_change(resolve_root(root)))
    if dry_run:
        with without_new_home(), show_progress(BYTES) as shown:
            what = plan_pruning(place, keep, watch=partial(watched_files, shown, "check"))
            history = removable_flow_runs(what.history)
    else:
        with storage_of(place).exclusive_lock("mnist prune", say), show_progress(BYTES) as shown:
            what = plan_pruning(place, keep, exclusive=True, watch=partial(watched_files, shown, "check"))
            apply_pruning(place, what, partial(watched_files, shown, "remove"))
        history = clear_history(place)  # after the lock is released: the server may be slow
    if as_json:
        echo_json(what.model_dump() | {"removed": not dry_run, "history": history.model_dump()})
    else:
        show_pruning(what, history, where=describe_root(root), removed=not dry_run)
    if history.left:
        say(_left_in_history(history), logging.WARNING)


def _left_in_history(history: "Cleared") -> str:
    """Return the warning about flow runs that remain in Prefect's history."""
    which = "flow run stays" if history.left == 1 else "flow runs stay"
    return f"{history.left} {which} in Prefect's history until a later `mnist prune`: {history.why}"


@click.command()
@ROOT
@JSON
def doctor(root: str | None, as_json: bool) -> None:
    """Check the installation, and describe it for a bug report.

    The command shows versions, processor, memory, free space, the files under the root, and the Prefect server in use,
    without secrets. It starts nothing and changes nothing. If a check fails, the exit code is 1, and the line of the
    check says what to do.
    """
    from artifacts.diagnosis import show_diagnosis
    from flows.cli.diagnosis import diagnose
    from tasks.safety.redaction import redacted_values
    from tasks.schemas.diagnosis import Diagnosis

    with redirect_stdout(sys.stderr):  # libraries may print; standard output is for the result alone
        found = Diagnosis.model_validate(redacted_values(diagnose(root).model_dump()))
    if as_json:
        echo_json({"healthy": not found.failed, **found.model_dump(mode="json")})
    else:
        show_diagnosis(found)
    if found.failed:
        raise DiagnosisError(f"failed checks: {', '.join(check.name for check in found.failed)}; what to do is above")
