"""Plan and apply the removal of old runs and of the files that no kept run needs.

Runs of champions that a rollback can reach are always kept. A file is removed only if a checksummed record names it
with its size and hash and the file still matches, so files that others added or changed stay. The records of runs are
removed first, then those of steps, then the files, so an interrupted removal never leaves a kept run without a file.
The flow runs of the removed runs are noted before (`tasks.history.flow_runs`), to be removed from Prefect's history
after the files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import ValidationError

from tasks.engine.workspace import discard, remove_all_stale_files, stale_files, unfinished_in
from tasks.errors import ChecksumError, StorageError
from tasks.history.champions import champion_history, champion_lines, entry_of
from tasks.history.flow_runs import add_pending_flow_runs, pending_flow_runs
from tasks.history.run_store import CLAIM, RECORD_NAMES, read_runs, record_path
from tasks.schemas.records import FileRecord
from tasks.schemas.results import Pruning
from tasks.schemas.runs import Champion, CompletedRun, RunRecord, StudyRun
from tasks.storage.backend import Root, matching, name_under, storage_errors
from tasks.storage.checksummed_json import load_with_checksum, valid_documents, write_checksummed
from tasks.storage.content_files import file_record
from tasks.storage.folders import BY_CONTENT, Folder, is_own_key
from tasks.storage.locks import is_idle
from tasks.storage.page_records import PageRecord
from tasks.storage.root_marker import find_mark, is_real_folder, signed_paths
from tasks.storage.storage import storage_of

# Passes on the files that are about to be hashed, to show the progress.
Watch = Callable[[Sequence[FileRecord]], Iterable[FileRecord]]


class RemovalPlan(NamedTuple):
    """The files to remove, in this order, and the folders to remove if they are empty without these files."""

    files: tuple[FileRecord, ...]
    folders: tuple[str, ...]


class StepRecordFile(NamedTuple):
    """The file of a step's record, and the files that the record names."""

    file: FileRecord
    names: tuple[FileRecord, ...]


def _runs_to_keep(
    root: Root, runs: Sequence[RunRecord], studies: Sequence[StudyRun], keep: int, champion_runs: Set[str]
) -> list[CompletedRun]:
    """Return the runs that pruning keeps: the last ones, those of champions, and those in folders behind links."""
    kept: list[CompletedRun] = [
        run for rank, run in enumerate(reversed(runs)) if rank < keep or run.run in champion_runs
    ]
    kept += studies[-keep:]
    storage = storage_of(root)
    kept += [
        run for run in (*runs, *studies) if run not in kept and not storage.is_real_folder(f"{Folder.RUNS}/{run.run}")
    ]
    return kept


def plan_pruning(root: Root, keep: int, *, exclusive: bool = False, watch: Watch = iter) -> Pruning:
    """Return the runs and files to remove if the last `keep` runs and the last `keep` studies are kept; change nothing.

    Temporary files of dead runs are included only if no process works under the root. With `exclusive`, the caller
    guarantees that no process does.

    Raises:
        StorageError: If the record of a run or of a champion can't be read, because the files that it needs are then
            unknown.
    """
    storage = storage_of(root)
    (runs, lost), (studies, lost_too) = read_runs(root, RunRecord), read_runs(root, StudyRun)
    if unreadable := [*lost, *lost_too]:
        raise StorageError(f"can't tell which files are needed: {unreadable[0]}; move that run's folder away first")
    champions = [one for line in champion_lines(root) for one in _reachable(champion_history(root, line))]
    kept = _runs_to_keep(root, runs, studies, keep, {one.run for one in champions})
    needed = {entry.file.path for run in kept for entry in run.manifest}
    needed |= {file.path for one in champions for file in (one.model.file, one.predictions.file)}
    names = {run.run for run in kept}
    gone = [run for run in (*runs, *studies) if run.run not in names]
    cache = storage.cache_dir
    exclusive = exclusive or is_idle(cache)
    # A run that is in progress has a claim and no record.
    claims = () if exclusive else matching(root, f"{Folder.RUNS}/*/{CLAIM}")
    active = {path.parent.name for path in claims} - {run.run for run in gone}
    planned = _removal_plan(root, gone, names | active, needed, watch)
    # A flow run that Prefect retried belongs to several runs, possibly to one that is newer than the note.
    flow_runs = pending_flow_runs(root) | {run.flow_run for run in gone if run.flow_run}
    stays = {run.flow_run.id for run in (*kept, *_copied(root, gone)) if run.flow_run}
    left = tuple(
        dict.fromkeys((*_unfinished(root, kept), *(_root_names(root, stale_files(root)) if exclusive else ())))
    )
    places = (*planned.folders, *(name for name in left if is_real_folder(cache, name)))
    going = {*(file.path for file in planned.files), *left}
    folders = tuple(name for name in places if _is_emptied(root, name, going))
    left = tuple(name for name in left if name not in places or name in folders)
    return Pruning(
        kept=tuple(sorted(names)),
        runs=tuple(PurePosixPath(folder).name for folder in planned.folders),
        files=tuple(file.path for file in planned.files if not file.path.startswith(f"{Folder.RUNS}/")) + left,
        bytes=sum(file.bytes for file in planned.files) + sum((cache / name).lstat().st_size for name in left),
        paths=tuple(file.path for file in planned.files)
        + tuple(name for name in left if name not in folders)
        + folders,
        planned=planned.files,
        history=frozenset(one for one in flow_runs if one.id not in stays),
    )


def _copied(root: Root, runs: Sequence[CompletedRun]) -> Iterator[CompletedRun]:
    """Yield the runs whose record was copied from another root where the original still exists.

    The flow runs of these runs belong to the originals.
    """
    for run in runs:
        inside = f"{Folder.RUNS}/{run.run}/{RECORD_NAMES[type(run)]}"
        if run.flow_run and storage_of(root).is_copy(inside, run.flow_run.root):
            yield run


def _reachable(champions: Sequence[Champion]) -> Iterator[Champion]:
    """Yield the current champion of a line and the earlier champions that a rollback can return to."""
    number = champions[-1].number if champions else None
    while number is not None:
        entry = entry_of(champions, number)
        yield entry
        number = entry.rollback_to


def _removal_plan(
    root: Root, gone: Sequence[CompletedRun], kept: set[str], needed: set[str], watch: Watch
) -> RemovalPlan:
    """Return the files that a record proves to be ours and that no kept run needs, and the folders of removed runs."""
    storage = storage_of(root)
    made, steps = list(valid_documents(root, PageRecord)), list(_step_records(root))
    old = [one for one in made if not set(one[1].of) <= kept or not one[1].of]
    own = [_own_record(root, run) for run in gone]
    forgotten = [step.file for step in steps if not {file.path for file in step.names} <= needed]
    pages = [file for _, one in old for file in one.files]
    named = [
        *pages,
        *(entry.file for run in gone for entry in run.manifest),
        *(file for step in steps for file in step.names),
    ]
    files = [file for file in dict.fromkeys(named) if _may_go(file.path, kept, needed)]
    candidates = (*own, *forgotten, *files, *(entry for entry, _ in old))
    found = [file for file in watch(candidates) if storage.is_removable(file)]
    runs = {run.run for run in gone} | {PurePosixPath(file.path).parent.name for file in pages if _in_a_run(file.path)}
    folders = [f"{Folder.RUNS}/{run}" for run in sorted(runs - kept)]
    return RemovalPlan(tuple(found), tuple(folder for folder in folders if storage.is_real_folder(folder)))


def _step_records(root: Root) -> Iterator[StepRecordFile]:
    """Yield the valid records of steps whose file name matches their key."""
    for path in matching(root, f"{Folder.RECORDS}/*.json"):
        try:
            raw = storage_of(path).read_whole()
            envelope = load_with_checksum(raw)
            files = tuple(_files_in(envelope))
        except (OSError, ChecksumError, ValidationError):
            continue
        if is_own_key(path.stem, envelope):
            yield StepRecordFile(file_record(name_under(root, path), raw), files)


def _own_record(root: Root, run: CompletedRun) -> FileRecord:
    name = f"{Folder.RUNS}/{run.run}/{RECORD_NAMES[type(run)]}"
    return file_record(name, storage_of(root / name).read_whole())


def _files_in(value: Any) -> Iterator[FileRecord]:
    """Yield every file record in a tree of JSON values."""
    if isinstance(value, dict):
        if value.keys() == {"path", "bytes", "sha256"}:
            yield FileRecord.model_validate(value)
        for item in value.values():
            yield from _files_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _files_in(item)


def _may_go(name: str, kept: set[str], needed: set[str]) -> bool:
    """Return whether a path lies where the project writes files, and no kept run needs the file."""
    folder, *inside = PurePosixPath(name).parts
    if name in needed or not inside:
        return False
    if _in_a_run(name):
        return inside[0] not in kept
    return len(inside) == 1 and (folder in BY_CONTENT or folder == Folder.COMPARISONS)


def _in_a_run(name: str) -> bool:
    """Return whether a file lies directly in the folder of a run."""
    folder, *inside = PurePosixPath(name).parts
    return folder == Folder.RUNS and len(inside) == 2


def _is_emptied(root: Root, name: str, going: set[str]) -> bool:
    """Return whether a folder holds nothing except the files to remove."""
    path = storage_of(root).cache_dir / name
    return not path.exists() or all(f"{name}/{inside.name}" in going for inside in path.iterdir())


def _unfinished(root: Root, kept: Sequence[CompletedRun]) -> Iterator[str]:
    """Yield the files that a killed step left for its next attempt, if they are older than every kept run.

    A run's age is that of its record's file, because the clock of the run's machine may have been wrong. In a store, that
    is a time of the store's clock, which is assumed to agree with this machine's.
    """
    oldest = min((record_path(root, run.run).stat().st_mtime for run in kept), default=0.0)
    cache_dir = storage_of(root).cache_dir
    mark = find_mark(cache_dir)
    for path in signed_paths(cache_dir, Folder.UNFINISHED, mark) if mark else ():
        if mark and path.lstat().st_mtime < oldest:
            yield from _root_names(root, unfinished_in(cache_dir, path.name, mark))


def _root_names(root: Root, paths: Iterator[Path]) -> Iterator[str]:
    """Return paths relative to the root, or to its local cache."""
    return (path.relative_to(storage_of(root).cache_dir).as_posix() for path in paths)


def apply_pruning(root: Root, what: Pruning, watch: Watch = iter) -> None:
    """Remove the files of a pruning plan; the caller must hold the root's exclusive lock.

    The plan is written to disk first, so if the process is killed, the next call still recognizes the remaining files
    as ours.

    Raises:
        StorageError: If a file can't be removed.
    """
    storage = storage_of(root)
    add_pending_flow_runs(root, what.history)
    with storage_errors(root):
        plan = PageRecord(files=what.planned)
        if what.planned:
            write_checksummed(root, plan.name, plan)
        for file in watch(what.planned):
            if storage.is_removable(file):
                storage.remove(file.path)
        for name in what.paths[len(what.planned) :]:
            discard(storage.cache_dir / name)
        remove_all_stale_files(root)
        if what.planned:
            storage.remove(plan.name)
