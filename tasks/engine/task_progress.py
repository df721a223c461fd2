"""Report the progress of a long step or of a flow, for the Prefect UI, the terminal and the log.

The progress artifact of the task run or the flow run is refreshed about once per second, and a line is logged every
half minute. Outside a run, nothing is reported.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log

_REFRESH_SECONDS = 1.0
_LOG_SECONDS = 30.0


class ProgressBar:
    """One progress artifact with the given key; after an error, the step continues without it."""

    def __init__(self, key: str, text: str) -> None:
        self.artifact: UUID | None = None
        self.reported = self.logged = time.perf_counter()
        self.part = f"progress {key}"
        if TaskRunContext.get() is not None or FlowRunContext.get() is not None:
            with optional(self.part, []):
                self.artifact = cast("UUID", create_progress_artifact(0.0, key.replace("_", "-"), text))

    def due(self) -> bool:
        """Return whether it is time to refresh the artifact."""
        return self.artifact is not None and time.perf_counter() - self.reported >= _REFRESH_SECONDS

    def refresh(self, done: float, text: str) -> None:
        """Update the share of the work that is done, from 0 to 1, and the description; log it if that is due."""
        if self.artifact:
            artifact, self.artifact = self.artifact, None
            self.reported = time.perf_counter()
            if self.reported - self.logged >= _LOG_SECONDS:
                self.logged = self.reported
                log(text)
            with optional(self.part, []):
                update_progress_artifact(artifact, progress=round(100 * done, 1), description=text)
                self.artifact = artifact


class TransferProgress:
    """Progress of a transfer of bytes, which is reported from an event loop."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.have = name, total, 0
        self.first: tuple[float, int] | None = None  # bytes of an earlier attempt took no time in this one
        self.ended = threading.Event()

    def report(self, have: int, _total: int | None) -> None:
        """Record how many bytes are there."""
        self.first = self.first or (time.perf_counter(), have)
        self.have = have

    def line(self) -> str:
        """Return one line with the bytes, the rate and the remaining time."""
        began, first = self.first or (time.perf_counter(), 0)
        rate = (self.have - first) / max(time.perf_counter() - began, 1e-9)
        left = f", {rate / 1e6:.1f} MB/s, {(self.total - self.have) / rate:.0f} s left" if rate > 0 else ""
        return f"{self.name}: {self.have:,} of {self.total:,} bytes{left}"

    def watch(self) -> None:
        """Refresh a progress artifact until the transfer ends; there is none if it ends at once."""
        bar: ProgressBar | None = None
        while not self.ended.wait(_REFRESH_SECONDS):
            bar = bar or ProgressBar(f"download-{self.name.split('.')[0].lower()}", self.line())
            bar.refresh(min(1.0, self.have / self.total), self.line())
        if bar:
            bar.refresh(min(1.0, self.have / self.total), self.line())


@contextmanager
def transfer_progress(name: str, total: int) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that records the progress of a transfer, which a thread of its own reports."""
    transfer = TransferProgress(name, total)
    thread = threading.Thread(target=copy_context().run, args=(transfer.watch,), daemon=True)
    thread.start()
    try:
        yield transfer.report
    finally:
        transfer.ended.set()
        thread.join()
