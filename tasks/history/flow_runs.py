"""Keep notes of the flow runs that are to be removed from Prefect's history.

A note is a checksummed file under the root, `history/<hash>.json`. It is written before the first record of a pruned
run is removed, and kept until the flow runs are gone from Prefect's history, so a crash or an unreachable server loses
nothing.
"""

from collections.abc import Iterable
from contextlib import suppress

from tasks.base import Frozen
from tasks.errors import ChecksumError
from tasks.schemas.runs import FlowRun
from tasks.storage.backend import Root, matching, name_under, storage_errors
from tasks.storage.checksummed_json import name_by_content, read_checksummed, write_checksummed
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of


class Note(Frozen):
    """Flow runs that are to be removed from Prefect's history."""

    flow_runs: tuple[FlowRun, ...]

    @property
    def name(self) -> str:
        """The path of the note relative to the root, derived from its content."""
        return name_by_content(Folder.HISTORY, self)


def _notes(root: Root) -> dict[str, Note]:
    """Return the valid notes whose file name matches their content, by that name."""
    found = {}
    for path in matching(root, f"{Folder.HISTORY}/*.json"):
        try:
            note = read_checksummed(path, Note)
        except ChecksumError:
            continue
        if name_under(root, path) == note.name:
            found[note.name] = note
    return found


def pending_flow_runs(root: Root) -> set[FlowRun]:
    """Return the flow runs that are to be removed."""
    return {one for note in _notes(root).values() for one in note.flow_runs}


def add_pending_flow_runs(root: Root, flow_runs: Iterable[FlowRun]) -> None:
    """Replace the noted flow runs with these.

    Raises:
        StorageError: If the note can't be written.
    """
    _replace_notes(root, _notes(root), flow_runs)


def forget_flow_runs(root: Root, done: set[FlowRun]) -> None:
    """Remove flow runs from the notes after their removal from Prefect's history.

    A note that another process writes in the meantime is kept.

    Raises:
        StorageError: If the note can't be written.
    """
    found = _notes(root)
    _replace_notes(root, found, {one for note in found.values() for one in note.flow_runs} - done)


def _replace_notes(root: Root, old: Iterable[str], flow_runs: Iterable[FlowRun]) -> None:
    """Write the new note, then remove the old notes."""
    new = Note(flow_runs=tuple(sorted(set(flow_runs), key=lambda one: one.id)))
    with storage_errors(root):
        if new.flow_runs and new.name not in old:
            write_checksummed(root, new.name, new)
        for name in old:
            if not new.flow_runs or name != new.name:
                with suppress(FileNotFoundError):  # another process removed the note first
                    storage_of(root).remove(name)
