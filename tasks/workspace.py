"""Where a run works: the root that holds its files, and the name of the run.

A Workspace is handed to every step and is no part of a step's inputs: the same inputs give the same record under any root.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.files import writable
from tasks.records import Frozen


class Workspace(Frozen):
    """The absolute root, and the run's name."""

    root: Path
    run: str

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of the root's file system for what is not yet whole; gone at the end."""
        folder = self.root / "scratch"
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(dir=folder, prefix=f"{self.run}-")
        with temporary as name:
            yield Path(name)
