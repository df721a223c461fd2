"""Claim the names of runs and studies, save the records of those that finished, and find them again by name.

The record of a run is kept with a checksum as `runs/<run>/run.json`, and that of a study as `runs/<run>/study.json`.
The file `runs/<run>/claim.json` is written when a run starts.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from uuid import UUID

from tasks.base import Frozen
from tasks.engine.workspace import Workspace
from tasks.errors import ChecksumError, NothingFoundError, RunError
from tasks.schemas.runs import CompletedRun, Kind, RunRecord, StudyRun
from tasks.storage.backend import Root, matching
from tasks.storage.checksummed_json import may_be_checksummed, read_checksummed, write_checksummed
from tasks.storage.folders import RUN_NAME, Folder
from tasks.storage.page_records import names_like, write_new_file
from tasks.storage.storage import storage_of

_LAST = "last"
CLAIM = "claim.json"


class _Claim(Frozen):
    """The flow run that a name of a run belongs to."""

    flow_run: UUID


RECORD_NAMES: dict[type[CompletedRun], str] = {RunRecord: "run.json", StudyRun: "study.json"}


def claim_run_name(root: Root, name: str, flow_run: UUID) -> str:
    """Claim a name for the run or study of a flow run; if another flow run has the name, claim the next free name.

    All attempts of a flow run get the same name. The caller holds the shared lock on the root.

    Raises:
        StorageError: If the claim can't be written.
    """
    return next(one for one in names_like(name) if _claims(root, one, _Claim(flow_run=flow_run)))


def _claims(root: Root, name: str, claim: _Claim) -> bool:
    """Return whether a name belongs to a claim now: no other run had the name, and no other claim was faster."""
    file = f"{Folder.RUNS}/{name}/{CLAIM}"
    if not storage_of(root / Folder.RUNS / name).is_taken():
        with suppress(FileExistsError):
            write_new_file(root, file, claim.model_dump_json(), (name,))
    try:
        return storage_of(root / file).read_whole() == claim.model_dump_json().encode()
    except OSError:  # a run of an earlier version, or another program, has this name
        return False


def save_run(run: Kind, work: Workspace) -> Kind:
    """Save the record of a run or a study, numbered, which marks the run as finished, and return it.

    Raises:
        StorageError: If the file can't be written.
    """
    if not run.number:
        run = run.model_copy(update={"number": 1 + _last_number(work.root)})
    run = run.model_copy(update={"uncached": tuple(work.uncached)})
    write_checksummed(work.root, f"{Folder.RUNS}/{run.run}/{RECORD_NAMES[type(run)]}", run)
    return run


def _last_number(root: Root) -> int:
    """Return the highest number of a finished run or study.

    Two runs that finish at the same time can get the same number; their start times then determine their order.
    """
    return max((run.number for kind in RECORD_NAMES for run in read_runs(root, kind)[0]), default=0)


def record_path(root: Root, run: str) -> Root:
    """Return the path of the record of a run or a study."""
    study = root / Folder.RUNS / run / RECORD_NAMES[StudyRun]
    return study if study.exists() else study.with_name(RECORD_NAMES[RunRecord])


def read_run(path: Root) -> CompletedRun | ChecksumError:
    """Return the record in a file, or the error if it can't be read.

    `mnist verify` reports the error; other callers skip the record.
    """
    kind = StudyRun if path.name == RECORD_NAMES[StudyRun] else RunRecord
    try:
        return read_checksummed(path, kind)
    except ChecksumError as error:
        error.path = str(path)
        return error


def _may_be_run(path: Root) -> bool:
    """Return whether a file in a folder of its own may be the record of a run.

    Other programs can keep files in `runs/`, too.
    """
    return bool(RUN_NAME.fullmatch(path.parent.name)) or may_be_checksummed(path)


def read_runs(root: Root, kind: type[Kind]) -> tuple[list[Kind], list[ChecksumError]]:
    """Return all finished runs or studies under the root in order of completion, and errors of unreadable records."""
    paths = [path for path in matching(root, f"{Folder.RUNS}/*/{RECORD_NAMES[kind]}") if _may_be_run(path)]
    found = [(path.parent.name, read_run(path)) for path in paths]
    # A record in a folder with another name is a copy.
    found = [(name, run) for name, run in found if isinstance(run, ChecksumError) or run.run == name]
    runs = sorted((run for _, run in found if isinstance(run, kind)), key=lambda run: (run.number, run.began))
    return runs, [error for _, error in found if isinstance(error, ChecksumError)]


def finished_runs(root: Root) -> list[RunRecord]:
    """Return every finished run under the root whose record can be read, in order of completion."""
    runs, _ = read_runs(root, RunRecord)
    return runs


def find_run(root: Root, name: str) -> RunRecord:
    """Return a finished run by its name, the beginning or end of its name, or `last`.

    Raises:
        NothingFoundError: If no run matches.
        RunError: If several runs or a study match.
    """
    runs = {run.run: run for run in finished_runs(root)}
    if name != _LAST and not _fitting(runs, name):
        for study in _fitting([one.run for one in read_runs(root, StudyRun)[0]], name):
            raise RunError(f"{study} is a study, not a run; `mnist runs` lists the runs")
    return runs[_match_run(list(runs), name, root)]


def find_record(root: Root, name: str) -> Root:
    """Return the path of the record of a run or a study, by a name as in `find_run`; the record may be damaged.

    Raises:
        NothingFoundError: If no run matches.
        RunError: If several runs match.
    """
    patterns = [f"{Folder.RUNS}/*/{kind}" for kind in RECORD_NAMES.values()]
    paths = {path.parent.name: path for one in patterns for path in matching(root, one) if _may_be_run(path)}
    return paths[_match_run(_order_of_completion(paths) if name == _LAST else sorted(paths), name, root)]


def _order_of_completion(paths: Mapping[str, Root]) -> list[str]:
    """Return the names of runs and studies in order of completion.

    A run whose record can't be read is placed by its name.
    """
    found = {name: read_run(path) for name, path in paths.items()}
    numbers = {name: run.number for name, run in found.items() if isinstance(run, CompletedRun)}

    def rank(name: str) -> tuple[int, str]:
        before = (number for other, number in numbers.items() if other < name)
        return numbers[name] if name in numbers else max(before, default=0), name

    return sorted(paths, key=rank)


def _match_run(names: Sequence[str], name: str, root: Root) -> str:
    """Return the one of `names` that `name` refers to; for `last`, the final one."""
    if name == _LAST and names:
        return names[-1]
    fitting = _fitting(names, name)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} matches {len(fitting)} runs: {_join_names(fitting)}; give a longer part of the name")
    raise NothingFoundError(
        f"no finished run {name!r} under {root}: "
        + (f"the runs are {_join_names(names)}" if names else "there are no runs")
    )


def _fitting(names: Collection[str], name: str) -> list[str]:
    """Return the one of `names` that equals `name`, or else all that begin or end with `name`."""
    return [one for one in names if one == name] or [
        one for one in names if name and (one.startswith(name) or one.endswith(f"-{name}"))
    ]


def _join_names(names: Sequence[str]) -> str:
    """Return the last five names as text."""
    return ("..., " if len(names) > 5 else "") + ", ".join(names[-5:])
