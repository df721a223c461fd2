"""Bar: how far a long step is, as a progress artifact of its task run, for Prefect's UI and the terminal.

In: shares of the work and lines of text. Out: an artifact, refreshed about once a second. Outside of a task run: nothing.
"""

import time
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

REFRESH_SECONDS = 1.0


class Bar:
    """One progress artifact; `key` names it among the artifacts of the flow."""

    def __init__(self, key: str, text: str) -> None:
        self.reporting = TaskRunContext.get() is not None
        self.artifact: UUID | None = None
        self.reported = time.perf_counter()
        if self.reporting:
            self.artifact = cast("UUID", create_progress_artifact(0.0, key.replace("_", "-"), text))

    def due(self) -> bool:
        """Whether it is time to refresh the artifact."""
        return self.artifact is not None and time.perf_counter() - self.reported >= REFRESH_SECONDS

    def refresh(self, done: float, text: str) -> None:
        """Update the artifact: `done` is between 0 and 1."""
        if self.artifact:
            self.reported = time.perf_counter()
            update_progress_artifact(self.artifact, progress=round(100 * done, 1), description=text)
