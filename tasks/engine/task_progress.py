"""Bar: how far a long step is, as a progress artifact of its task run, for Prefect's UI and the terminal.

In: shares of the work and lines of text. Out: an artifact, refreshed about once a second. Outside of a task run: nothing.
"""

import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from tasks.engine.optional_parts import optional

_REFRESH_SECONDS = 1.0


class ProgressBar:
    """One progress artifact; `key` names it among the artifacts of the flow. After an error, the step goes on without."""

    def __init__(self, key: str, text: str) -> None:
        self.artifact: UUID | None = None
        self.reported = time.perf_counter()
        self.part = f"progress {key}"
        if TaskRunContext.get() is not None:
            with optional(self.part, []):
                self.artifact = cast("UUID", create_progress_artifact(0.0, key.replace("_", "-"), text))

    def due(self) -> bool:
        """Whether it is time to refresh the artifact."""
        return self.artifact is not None and time.perf_counter() - self.reported >= _REFRESH_SECONDS

    def refresh(self, done: float, text: str) -> None:
        """Update the artifact: `done` is between 0 and 1."""
        if self.artifact:
            artifact, self.artifact = self.artifact, None
            self.reported = time.perf_counter()
            with optional(self.part, []):
                update_progress_artifact(artifact, progress=round(100 * done, 1), description=text)
                self.artifact = artifact
