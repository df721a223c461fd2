"""Report the progress of a long step as a progress artifact of its task run, for the Prefect UI and the terminal.

The artifact is refreshed about once per second. Outside a task run, nothing is reported.
"""

import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from tasks.engine.optional_parts import optional

_REFRESH_SECONDS = 1.0


class ProgressBar:
    """One progress artifact with the given key; after an error, the step continues without it."""

    def __init__(self, key: str, text: str) -> None:
        self.artifact: UUID | None = None
        self.reported = time.perf_counter()
        self.part = f"progress {key}"
        if TaskRunContext.get() is not None:
            with optional(self.part, []):
                self.artifact = cast("UUID", create_progress_artifact(0.0, key.replace("_", "-"), text))

    def due(self) -> bool:
        """Return whether it is time to refresh the artifact."""
        return self.artifact is not None and time.perf_counter() - self.reported >= _REFRESH_SECONDS

    def refresh(self, done: float, text: str) -> None:
        """Update the share of the work that is done, from 0 to 1, and the description."""
        if self.artifact:
            artifact, self.artifact = self.artifact, None
            self.reported = time.perf_counter()
            with optional(self.part, []):
                update_progress_artifact(artifact, progress=round(100 * done, 1), description=text)
                self.artifact = artifact
