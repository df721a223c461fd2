"""Keep notes of the flow runs that are to be removed from Prefect's history.

A note is a checksummed file under the root, `history/<hash>.json`. It is written before the first record of a pruned
run is removed, and kept until the flow runs are gone from Prefect's history, so a crash or an unreachable server loses
nothing.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from tasks.schemas.runs import FlowRun
from tasks.storage.backend import Root, storage_errors
from tasks.storage.checksummed_json import ContentNamed, valid_documents, write_checksummed
from tasks.storage.folders import Folder
from tasks.storage.storage import storage_of


class Note(ContentNamed):
    """Flow runs that are to be removed from Prefect's history."""

    folder = Folder.HISTORY

    flow_runs: tuple[FlowRun, ...]


def pending_flow_runs(root: Root) -> set[FlowRun]:
    """Return the flow runs that are to be removed."""
    return {one for _, note in valid_documents(root, Note) for one in note.flow_runs}


def add_pending_flow_runs(root: Root, flow_runs: Iterable[FlowRun]) -> None:
    """Replace the noted flow runs with these.

    Raises:
        StorageError: If the note can't be written.
    """
    _replace_notes(root, [file.path for file, _ in valid_documents(root, Note)], flow_runs)


def forget_flow_runs(root: Root, done: set[FlowRun]) -> None:
    """Remove flow runs from the notes after their removal from Prefect's history.

    A note that another process writes in the meantime is kept.

    Raises:
        StorageError: If the note can't be written.
    """
    found = list(valid_documents(root, Note))
    left = {one for _, note in found for one in note.flow_runs} - done
    _replace_notes(root, [file.path for file, _ in found], left)


def _replace_notes(root: Root, old: Sequence[str], flow_runs: Iterable[FlowRun]) -> None:
    """Write the new note, then remove the old notes."""
    new = Note(flow_runs=tuple(sorted(set(flow_runs), key=lambda one: one.id)))
    with storage_errors(root):
        if new.flow_runs and new.name not in old:
            write_checksummed(root, new.name, new)
        for name in old:
            if not new.flow_runs or name != new.name:
                with suppress(FileNotFoundError):  # another process removed the note first
                    storage_of(root).remove(name)
