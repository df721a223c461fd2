"""Find the earlier run and the champions that a run can be compared with: those with the same test images.

Test images are the same if their shape, class names, pixels and labels are the same.
"""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from tasks.data.split_content import with_labels_digest
from tasks.errors import StorageError
from tasks.history.champions import champion_history, champion_lines
from tasks.history.run_store import read_run, read_runs, record_path
from tasks.schemas.records import Omission
from tasks.schemas.runs import COMPARISON, RunRecord, champion_line, earlier_champion_line
from tasks.storage.backend import Root

_SHORT_HASH = re.compile("-[0-9a-f]{12}(?=-|$)")  # in the name of a champion line


class Predecessor(NamedTuple):
    """The earlier run to compare a run with, if any, and the comparisons that could not be made."""

    run: RunRecord | None
    omitted: list[Omission]


def predecessor(root: Root, run: RunRecord) -> Predecessor:
    """Return the last finished run that a run can be compared with.

    The earlier run must have the same dataset, champion line and test images, and at least one model of the same
    name. Repetitions of the run are skipped.
    """
    runs, unreadable = read_runs(root, RunRecord)
    elsewhere: list[Omission] = []
    missed: list[Omission] = []
    found = None
    for one in reversed(runs):
        if one.dataset != run.dataset or one.run == run.run or _is_repetition(one, run):
            continue
        part = f"{COMPARISON} {one.run}"
        if why := _why_elsewhere(one, run, root):
            elsewhere.append(Omission(part=part, why=why))
        elif why := _why_unpaired(one, run):
            missed.append(Omission(part=part, why=why))
        else:
            found = one
            break
    # Report a newer run of the same line that can't be compared. Report one of another line only if no run can be.
    omitted = (missed or ([] if found else elsewhere))[:1]
    lost = {PurePosixPath(error.path).parent.name: str(error) for error in unreadable}
    newest = max((name for name in lost if found is None or name > found.run), default=None)
    if newest:
        omitted.append(Omission(part=f"{COMPARISON} {newest}", why=lost[newest]))
    return Predecessor(found, omitted)


def _why_elsewhere(one: RunRecord, other: RunRecord, root: Root) -> str:
    """Return why two runs do not belong to the same champion line; empty if they do."""
    if one.line != other.line:
        return f"its champion line is {one.line}, that of this run is {other.line}"
    try:
        if not _same_test_images(one, other, root):
            return "it was evaluated on different test images, labels or classes"
    except StorageError as error:
        return f"its test labels are unknown: {error}"
    return ""


def _same_test_images(one: RunRecord, other: RunRecord, root: Root) -> bool:
    """Return whether two runs were evaluated on test images of the same content.

    Raises:
        StorageError: If a record is of an earlier version, and the file of its split is missing or altered.
    """
    if one.test.pixels_sha256 != other.test.pixels_sha256:  # tells most splits apart without reading a file
        return False
    return len({with_labels_digest(run.test, root).content_sha256 for run in (one, other)}) == 1


def _is_repetition(one: RunRecord, other: RunRecord) -> bool:
    """Return whether two runs are attempts of the same flow run, or have the same models, which classify alike."""
    if one.flow_run and other.flow_run and one.flow_run.id == other.flow_run.id:
        return True
    names, others = _model_hashes(one), _model_hashes(other)
    shared = names.keys() & others.keys()
    return bool(shared) and all(names[name] == others[name] for name in shared)


def _model_hashes(run: RunRecord) -> dict[str, str]:
    """Return the SHA-256 of each model's file by the name of the model."""
    return {model.name: model.file.sha256 for model in run.models}


def _why_unpaired(one: RunRecord, other: RunRecord) -> str:
    """Return why no model of an earlier run can be compared with one of a later run; empty if one can."""
    names, others = _model_hashes(one), _model_hashes(other)
    if names.keys() & others.keys():
        return ""
    return f"its models ({', '.join(names)}) have no name in common with this run's ({', '.join(others)})"


def current_champion_line(run: RunRecord, root: Root) -> str:
    """Return the name of the folder with a run's champions under a root.

    An earlier version named the folder by the archive of the labels. The folder keeps that name if its last champion has
    the same test images, whatever archives they come from.

    Raises:
        StorageError: If the champions can't be read.
    """
    line, earlier = champion_line(run), earlier_champion_line(run)
    lines = champion_lines(root)
    if line in lines:
        return line
    alike = [name for name in lines if _SHORT_HASH.sub("", name) == _SHORT_HASH.sub("", line)]
    return next((name for name in alike if _has_test_images(name, run, root, unknown=name == earlier)), line)


def _has_test_images(line: str, run: RunRecord, root: Root, *, unknown: bool) -> bool:
    """Return whether the last champion of a line has the test images of a run, and `unknown` if no record says so."""
    record = record_path(root, champion_history(root, line)[-1].run)
    made = read_run(record) if record.exists() else None
    try:
        return _same_test_images(made, run, root) if isinstance(made, RunRecord) else unknown
    except StorageError:
        return unknown
