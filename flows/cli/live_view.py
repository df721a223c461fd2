"""Live view of a flow run in the terminal.

It polls Prefect's API for the states and progress artifacts that Prefect's UI also shows, and draws a line for each
task run, with a progress bar for each training.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
)
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import ArtifactSort, TaskRunSort
from prefect.exceptions import PrefectException
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from artifacts.screen import Screen

_POLL_SECONDS = 0.5
_LINES = 200  # the maximum that Prefect's API returns at once
_MARKS = {"Cached": ("=", "cyan"), "Completed": ("✓", "green"), "Failed": ("✗", "red"), "Crashed": ("✗", "red")}
_ASCII = {"✓": "+", "✗": "x"}  # for terminals without Unicode
_BAR, _WIDE = 24, 80  # characters: width of a bar, and the least width of a terminal that shows it


class RunView:
    """View of one flow run that polls Prefect's API and draws the task runs."""

    def __init__(self, client: SyncPrefectClient, flow_run: UUID, screen: Screen) -> None:
        self.client, self.screen = client, screen
        self.which = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        self.stopped = threading.Event()
        self.runs: Sequence[TaskRun] = ()
        self.progress: dict[str, tuple[float, str]] = {}
        self.spinner = Spinner(screen.spinner)

    def watch(self) -> None:
        """Poll until stopped; skip a poll that fails and try again."""
        while not self.stopped.wait(_POLL_SECONDS):
            with suppress(PrefectException, httpx.HTTPError, RuntimeError):
                self.poll()

    def poll(self) -> None:
        """Read the task runs and their progress from the API once."""
        self.runs = self.client.read_task_runs(
            flow_run_filter=self.which, sort=TaskRunSort.EXPECTED_START_TIME_ASC, limit=_LINES
        )
        kind = ArtifactFilter(type=ArtifactFilterType(any_=["progress"]))
        found = self.client.read_artifacts(
            flow_run_filter=self.which,
            task_run_filter=TaskRunFilter(),
            artifact_filter=kind,
            sort=ArtifactSort.ID_DESC,
            limit=_LINES,
            offset=0,
        )
        self.progress = {
            str(item.task_run_id): (float(str(item.data)), item.description or "") for item in found if item.task_run_id
        }

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for whole in (True, False, False, True):
            table.add_column(no_wrap=whole)
        for run in self.runs:
            state = run.state_name or ""
            seconds = run.estimated_run_time.total_seconds()
            table.add_row(self.mark(state), run.name, self.detail(run, state), f"{seconds:.1f} s")
        return Group(table) if self.runs else Group(self.spinner, Text("starting"))

    def mark(self, state: str) -> RenderableType:
        """Return the sign for a state, or the spinner for a task run that is not finished."""
        if state not in _MARKS:
            return self.spinner
        sign, style = _MARKS[state]
        return Text(sign if self.screen.draws_unicode else _ASCII.get(sign, sign), style)

    def detail(self, run: TaskRun, state: str) -> RenderableType:
        """Return the text for a task run: its training progress if there is any, else its state."""
        share, text = self.progress.get(str(run.id), (0.0, ""))
        if not text:
            message = run.state.message if run.state and state == "Cached" else None
            return Text(f"{state.lower()}, {message}" if message else state.lower(), "dim")
        description = text.partition(": ")[2]
        if self.screen.width < _WIDE:
            return Text(description)
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=100, completed=share, width=_BAR), description)
        return row


@contextmanager
def live_view(client: SyncPrefectClient, flow_run: UUID, console: Screen) -> Iterator[None]:
    """Show a flow run in the terminal while the block runs."""
    view = RunView(client, flow_run, console)
    poller = threading.Thread(target=view.watch, daemon=True)
    with Live(view, console=console, refresh_per_second=8):
        poller.start()
        try:
            yield
        finally:
            view.stopped.set()
            poller.join(timeout=5)
            with suppress(PrefectException, httpx.HTTPError, RuntimeError):
                view.poll()
