"""Runs: what a finished run leaves behind, so that later ones can be compared with it.

In: the records of a run. Out: a RunRecord, kept sealed as `runs/<run>/run.json`, and found again by the run's name.
Refuses: a name that is unknown or fits more than one run.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from tasks.engine.workspace import Workspace
from tasks.errors import ChecksumError, RunError
from tasks.schemas.records import Omission
from tasks.schemas.runs import COMPARISON, CompletedRun, Kind, RunRecord, StudyRun, champion_line
from tasks.storage.backend import Root, matching
from tasks.storage.checksummed_json import may_be_checksummed, read_checksummed, write_checksummed
from tasks.storage.folders import RUN_NAME, Folder

_LAST = "last"


RECORD_NAMES: dict[type[CompletedRun], str] = {RunRecord: "run.json", StudyRun: "study.json"}


def save_run(run: Kind, work: Workspace) -> Kind:
    """Keep the record of a run or a study, numbered; from then on it counts as finished.

    Raises:
        StorageError: the file can't be written.
    """
    if not run.number:
        run = run.model_copy(update={"number": 1 + _last_number(work.root)})
    write_checksummed(work.root / Folder.RUNS / run.run / RECORD_NAMES[type(run)], run)
    return run


def _last_number(root: Root) -> int:
    """The highest number of a finished run or study; two that finish at once may share the next, and go by their times."""
    return max((run.number for kind in RECORD_NAMES for run in read_runs(root, kind)[0]), default=0)


def record_path(root: Root, run: str) -> Root:
    """Where the record of a run is kept, or of a study where it is one."""
    study = root / Folder.RUNS / run / RECORD_NAMES[StudyRun]
    return study if study.exists() else study.with_name(RECORD_NAMES[RunRecord])


def read_run(path: Root) -> CompletedRun | ChecksumError:
    """The record in a file, or why it can't be read: `mnist verify` says so, whoever else looks back passes it over."""
    kind = StudyRun if path.name == RECORD_NAMES[StudyRun] else RunRecord
    try:
        return read_checksummed(path, kind)
    except ChecksumError as error:
        error.path = str(path)
        return error


def _may_be_run(path: Root) -> bool:
    """Whether a file in a folder of its own may be the record of a run: other programs keep theirs in runs/, too."""
    return bool(RUN_NAME.fullmatch(path.parent.name)) or may_be_checksummed(path)


def read_runs(root: Root, kind: type[Kind]) -> tuple[list[Kind], list[ChecksumError]]:
    """Every finished run or study under the root, the first to finish first; and what is wrong with unreadable records."""
    paths = [path for path in matching(root, f"{Folder.RUNS}/*/{RECORD_NAMES[kind]}") if _may_be_run(path)]
    found = [(path.parent.name, read_run(path)) for path in paths]
    # What lies in a folder of another name is somebody's copy.
    found = [(name, run) for name, run in found if isinstance(run, ChecksumError) or run.run == name]
    runs = sorted((run for _, run in found if isinstance(run, kind)), key=lambda run: (run.number, run.began))
    return runs, [error for _, error in found if isinstance(error, ChecksumError)]


def finished_runs(root: Root) -> list[RunRecord]:
    """Every finished run under the root whose record can be read, the first to finish first."""
    runs, _ = read_runs(root, RunRecord)
    return runs


class Predecessor(NamedTuple):
    """The run that another is to be compared with, if there is one; and what of earlier runs can't be compared."""

    run: RunRecord | None
    omitted: list[Omission]


def predecessor(root: Root, run: RunRecord) -> Predecessor:
    """The last finished run of the same data set, line of champions, test images and models."""
    runs, unreadable = read_runs(root, RunRecord)
    earlier = [one for one in reversed(runs) if one.dataset == run.dataset and one.run != run.run]
    found = next((one for one in earlier if not _why_incomparable(one, run)), None)
    # What comes after it, or all if there is none: a run of the same line is missed, one of another line explains.
    later = earlier[: earlier.index(found)] if found else earlier
    of_line = [one for one in later if champion_line(one) == champion_line(run)]
    missed = of_line or ([] if found else later)
    omitted = [Omission(part=f"{COMPARISON} {one.run}", why=_why_incomparable(one, run)) for one in missed[:1]]
    lost = {PurePosixPath(error.path).parent.name: str(error) for error in unreadable}
    newest = max((name for name in lost if found is None or name > found.run), default=None)
    if newest:
        omitted.append(Omission(part=f"{COMPARISON} {newest}", why=lost[newest]))
    return Predecessor(found, omitted)


def _why_incomparable(one: RunRecord, other: RunRecord) -> str:
    """Why an earlier run can't be compared with another; empty if it can."""
    if one.line != other.line:
        return f"it is of the line of champions {one.line}, this run of {other.line}"
    if champion_line(one) != champion_line(other):
        return "it was judged on other test images or labels"
    names, others = ([model.name for model in run.models] for run in (one, other))
    if not set(names) & set(others):
        return f"it has other models ({', '.join(names)}) than this run ({', '.join(others)})"
    return ""


def find_run(root: Root, name: str) -> RunRecord:
    """A finished run by its name, by the beginning or the end of it, or as `last`.

    Raises:
        RunError: no run fits, or several do.
    """
    runs = {run.run: run for run in finished_runs(root)}
    return runs[_match_run(list(runs), name, root)]


def find_record(root: Root, name: str) -> Root:
    """The record of a run or a study, by its name as in `find_run`, though it may be altered.

    Raises:
        RunError: no run fits, or several do.
    """
    patterns = [f"{Folder.RUNS}/*/{kind}" for kind in RECORD_NAMES.values()]
    paths = {path.parent.name: path for one in patterns for path in matching(root, one) if _may_be_run(path)}
    return paths[_match_run(_order_of_completion(paths) if name == _LAST else sorted(paths), name, root)]


def _order_of_completion(paths: Mapping[str, Root]) -> list[str]:
    """The names of runs and studies, the first to finish first; one whose record can't be read stands where its name does."""
    found = {name: read_run(path) for name, path in paths.items()}
    numbers = {name: run.number for name, run in found.items() if isinstance(run, CompletedRun)}

    def rank(name: str) -> tuple[int, str]:
        before = (number for other, number in numbers.items() if other < name)
        return numbers[name] if name in numbers else max(before, default=0), name

    return sorted(paths, key=rank)


def _match_run(names: Sequence[str], name: str, root: Root) -> str:
    """The one of `names`, the latest last, that is meant.

    Raises:
        RunError: none is, or several are.
    """
    if name == _LAST and names:
        return names[-1]
    fitting = [one for one in names if one == name] or [
        one for one in names if name and (one.startswith(name) or one.endswith(f"-{name}"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise RunError(f"{name!r} fits {len(fitting)} runs: {_join_names(fitting)}; give more of the name")
    raise RunError(
        f"no finished run {name!r} under {root}: " + (f"there are {_join_names(names)}" if names else "there is none")
    )


def _join_names(names: Sequence[str]) -> str:
    """The last few names."""
    return ("..., " if len(names) > 5 else "") + ", ".join(names[-5:])
