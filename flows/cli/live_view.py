"""Live view: what a run is doing, in the terminal, as it does it.

In: the id of a flow run. Out: a line per task run, with a bar for each training, from what Prefect's API
knows: the same states and progress artifacts that its UI shows.
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
_LINES = 200  # the most that Prefect's API gives at once
_MARKS = {"Cached": ("=", "cyan"), "Completed": ("✓", "green"), "Failed": ("✗", "red"), "Crashed": ("✗", "red")}
_ASCII = {"✓": "+", "✗": "x"}  # where the terminal has no more
_BAR, _WIDE = 24, 80  # characters of a bar, and of a terminal that has room for it


class RunView:
    """Polls one flow run, and draws it."""

    def __init__(self, client: SyncPrefectClient, flow_run: UUID, screen: Screen) -> None:
        self.client, self.screen = client, screen
        self.which = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        self.stopped = threading.Event()
        self.runs: Sequence[TaskRun] = ()
        self.progress: dict[str, tuple[float, str]] = {}
        self.spinner = Spinner(screen.spinner)

    def watch(self) -> None:
        """Poll until told to stop; what the server does not answer now is asked again."""
        while not self.stopped.wait(_POLL_SECONDS):
            with suppress(PrefectException, httpx.HTTPError, RuntimeError):
                self.poll()

    def poll(self) -> None:
        """Ask the API once."""
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
        """The view as it is now."""
        table = Table.grid(padding=(0, 1))
        for whole in (True, False, False, True):
            table.add_column(no_wrap=whole)
        for run in self.runs:
            state = run.state_name or ""
            seconds = run.estimated_run_time.total_seconds()
            table.add_row(self.mark(state), run.name, self.detail(run, state), f"{seconds:.1f} s")
        return Group(table) if self.runs else Group(self.spinner, Text("starting"))

    def mark(self, state: str) -> RenderableType:
        """A sign for a state; of a task that runs, one that turns."""
        if state not in _MARKS:
            return self.spinner
        sign, style = _MARKS[state]
        return Text(sign if self.screen.draws_unicode else _ASCII.get(sign, sign), style)

    def detail(self, run: TaskRun, state: str) -> RenderableType:
        """What to say of one task run: its progress while it trains, else its state."""
        share, text = self.progress.get(str(run.id), (0.0, ""))
        if not text:
            message = run.state.message if run.state and state == "Cached" else None
            return Text(f"{state.lower()}, {message}" if message else state.lower(), "dim")
        said = text.partition(": ")[2]
        if self.screen.width < _WIDE:
            return Text(said)
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=100, completed=share, width=_BAR), said)
        return row


@contextmanager
def live_view(client: SyncPrefectClient, flow_run: UUID, console: Screen) -> Iterator[None]:
    """Show a run in the terminal while the block runs."""
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
