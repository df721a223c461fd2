"""Where a run works: the root that holds its files, and the name of the run.

A Workspace is handed to every step and is no part of a step's inputs: the same inputs give the same record under any root.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from tasks.files import PART, writable
from tasks.locks import FOLDER as LOCKS
from tasks.locks import ROOT, alone_at_once, shared
from tasks.log import say
from tasks.records import Frozen
from tasks.store import Root, root_at, shadow_of

RECORDS, SCRATCH, UNFINISHED = "records", "scratch", "unfinished"


class Workspace(Frozen):
    """The absolute root, the name of the run, and the key of the step under way."""

    root: Annotated[
        Root, BeforeValidator(lambda root: root_at(root) if isinstance(root, str) else root), PlainSerializer(str)
    ]
    run: str
    key: str = ""

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of the root's file system, or of its shadow's, for what is not yet whole; gone at the end."""
        folder = shadow_of(self.root) / SCRATCH
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(dir=folder, prefix=f"{self.run}-")
        with temporary as name:
            yield Path(name)

    @property
    def unfinished(self) -> Path:
        """A folder for what the step's next try goes on from; it stays until the step's record is kept."""
        return shadow_of(self.root) / UNFINISHED / self.key


@contextmanager
def at_work(root: Root, run: str) -> Iterator[Workspace]:
    """Work under a root, along with other runs; what dead ones have left half-done is removed before and after.

    Raises:
        StorageError: the root can't be locked.
    """
    sweep(root)
    try:
        with shared(root, say):
            yield Workspace(root=root, run=run)
    finally:
        sweep(root)


def sweep(root: Root) -> None:
    """Remove what nobody will finish, unless someone is at work: then it is theirs, or the last of them sweeps.

    What a training or a download has left for its next try stays. In a store nothing is half-done: only its shadow is swept.

    Raises:
        StorageError: the root can't be locked.
    """
    with alone_at_once(shadow_of(root)) as nobody_else:
        if nobody_else:
            clear(root)


def clear(root: Root) -> None:
    """As `sweep`, for who has the root alone."""
    shadow = shadow_of(root)
    for path in (shadow / SCRATCH).glob("*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in (shadow / UNFINISHED).glob("*"):
        if (root / RECORDS / f"{path.name}.json").exists():
            shutil.rmtree(path, ignore_errors=True)
    for path in (*shadow.rglob(f".*{PART}"), *(shadow / LOCKS).glob("*.lock")):
        if path.name != ROOT:
            path.unlink(missing_ok=True)
