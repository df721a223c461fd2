"""Prune: which runs go, and which files no kept run refers to; and their removal.

In: a root, and how many of the last runs, and of the last studies, to keep. Out: a Pruning. A run of a champion that a rollback
can reach is always kept. Only files go that this project has named by their content. The order of removal is such that wherever
it breaks off, nothing that is kept has lost a file: first the runs, then the records, then the files.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.champion import history, lines
from tasks.errors import SealError, StorageError
from tasks.files import writable
from tasks.results import Pruning
from tasks.runs import RECORD_NAMES, Champion, Finished, RunRecord, StudyRun, read_runs
from tasks.sealed import unseal
from tasks.store import Root, matching, name_under, read_whole, remove, shadow_of
from tasks.workspace import RECORDS, SCRATCH, UNFINISHED, clear

FOLDERS = (
    "archives",
    "splits",
    "measures",
    "models",
    "predictions",
    "attributions",
    "selections",
    "explanations",
    "analyses",
    "figures",
    "changes",
)
BY_CONTENT = re.compile(r".+-[0-9a-f]{12}\.[\w.]+")


def pruning(root: Root, keep: int) -> Pruning:
    """What goes if the last `keep` runs and the last `keep` studies stay. Nothing is touched.

    Raises:
        StorageError: a run's or a champion's record can't be read, so that nobody knows which files it needs.
    """
    (runs, lost), (studies, lost_too) = read_runs(root, RunRecord), read_runs(root, StudyRun)
    if unreadable := [*lost, *lost_too]:
        raise StorageError(f"can't tell which files are needed: {unreadable[0]}; move that run's folder away first")
    champions = [one for line in lines(root) for one in reachable(history(root, line))]
    champion_runs = {one.run for one in champions}
    kept: list[Finished] = [run for rank, run in enumerate(reversed(runs)) if rank < keep or run.run in champion_runs]
    kept += studies[-keep:]
    needed = {link.file.path for run in kept for link in run.chain}
    needed |= {file.path for one in champions for file in (one.model.file, one.predictions.file)}
    names = {run.run for run in kept}
    gone = [path.name for path in matching(root, "runs/*") if path.is_dir() and path.name not in names]
    files = [*records(root, needed), *unneeded(root, needed), *comparisons(root, names), *unfinished(root, kept)]
    size = sum(size_of(root / path) for path in (*(f"runs/{run}" for run in gone), *files))
    return Pruning(kept=tuple(sorted(names)), runs=tuple(gone), files=tuple(files), bytes=size)


def reachable(champions: Sequence[Champion]) -> Iterator[Champion]:
    """The champion of a line, and those below it that a rollback can go back to."""
    by_number = {one.number: one for one in champions}
    number = champions[-1].number if champions else None
    while number is not None:
        yield by_number[number]
        number = by_number[number].below


def records(root: Root, needed: set[str]) -> Iterator[str]:
    """The kept records of steps that name a file, made or used, which nobody needs, or that can't be read."""
    for path in matching(root, f"{RECORDS}/*.json"):
        try:
            named = set(paths_in(unseal(read_whole(path))))
        except (OSError, SealError):
            named = {""}
        if not named <= needed:
            yield name_under(root, path)


def paths_in(value: Any) -> Iterator[str]:
    """The path of every file record in a tree."""
    if isinstance(value, dict):
        if {"path", "bytes", "sha256"} <= value.keys():
            yield value["path"]
        for item in value.values():
            yield from paths_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from paths_in(item)


def unneeded(root: Root, needed: set[str]) -> Iterator[str]:
    """The files named by their content that nobody needs."""
    for folder in FOLDERS:
        for path in matching(root, f"{folder}/*"):
            name = name_under(root, path)
            if BY_CONTENT.fullmatch(path.name) and name not in needed:
                yield name


def comparisons(root: Root, runs: set[str]) -> Iterator[str]:
    """The pages that compare a run which goes."""
    for path in matching(root, "comparisons/*..*.html"):
        if not set(path.stem.split("..")) <= runs:
            yield name_under(root, path)


def unfinished(root: Root, kept: Sequence[Finished]) -> Iterator[str]:
    """What a killed step has left for its next try, if that is older than every kept run."""
    oldest = min((run.began.timestamp() for run in kept), default=0.0)
    for path in sorted((shadow_of(root) / UNFINISHED).glob("*")):
        if path.stat().st_mtime < oldest:
            yield f"{UNFINISHED}/{path.name}"


def size_of(path: Root) -> int:
    """The bytes of a file, or of all files in a folder."""
    if not isinstance(path, Path):
        return int(path.fs.du(path.path))
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def carry_out(root: Root, what: Pruning) -> None:
    """Remove it. Whoever calls has the root alone.

    Raises:
        StorageError: something can't be removed.
    """
    with writable(root):
        if not isinstance(root, Path):
            carry_out_in_store(root, what)
            return
        (root / SCRATCH).mkdir(parents=True, exist_ok=True)
        for run in what.runs:
            (root / "runs" / run).rename(root / SCRATCH / run)
        for name in what.files:
            path = root / name
            if path.is_dir():
                path.rename(root / SCRATCH / path.name)
            else:
                path.unlink(missing_ok=True)
        clear(root)
        shutil.rmtree(root / SCRATCH, ignore_errors=True)


def carry_out_in_store(root: Root, what: Pruning) -> None:
    """As `carry_out`, where nothing can be renamed: a run is none any more once its record is gone, which goes first."""
    for run in what.runs:
        remove(root, f"runs/{run}", first=tuple(RECORD_NAMES.values()))
    for name in what.files:
        remove(root, name)
    clear(root)
