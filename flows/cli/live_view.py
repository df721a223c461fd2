"""Live view of a flow run in the terminal.

It polls Prefect's API for the states and progress artifacts that Prefect's UI also shows, and draws a line for each
task run, with a progress bar for each training.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterId,
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
# Characters: width of a bar, the least width of a terminal that shows it, and that at which a training takes one line.
_BAR, _WIDE, _ONE_LINE = 24, 80, 130


class RunView:
    """View of one flow run that polls Prefect's API and draws the task runs."""

    def __init__(self, client: SyncPrefectClient, flow_run: UUID, screen: Screen) -> None:
        self.client, self.screen = client, screen
        self.which = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        self.stopped = threading.Event()
        self.runs: Sequence[TaskRun] = ()
        self.progress: dict[str, tuple[float, str]] = {}  # by task run; that of the flow itself has an empty key
        self.spinner = Spinner(screen.spinner)

    def watch(self) -> None:
        """Poll until stopped; skip a poll that fails and try again."""
        while not self.stopped.wait(_POLL_SECONDS):
            with suppress(PrefectException, httpx.HTTPError, RuntimeError):
                self.poll()

    def poll(self) -> None:
        """Read the task runs and their progress from the API once."""
        latest = self.client.read_task_runs(
            flow_run_filter=self.which, sort=TaskRunSort.EXPECTED_START_TIME_DESC, limit=_LINES
        )
        self.runs = latest[::-1]
        kind = ArtifactFilter(type=ArtifactFilterType(any_=["progress"]))
        found = self.client.read_artifacts(
            flow_run_filter=self.which,
            artifact_filter=kind,
            sort=ArtifactSort.UPDATED_DESC,
            limit=_LINES,
            offset=0,
        )
        self.progress = {  # of several artifacts of a task run, such as those of several mirrors, the latest counts
            str(item.task_run_id or ""): (float(str(item.data)), item.description or "") for item in reversed(found)
        }

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for whole in (True, False, False, True):
            table.add_column(no_wrap=whole)
        running = not self.stopped.is_set()
        if "" in self.progress and running:
            share, text = self.progress[""]
            table.add_row(self.spinner, text.partition(": ")[0], self.bar(share, text.partition(": ")[2]), "")
        for run in latest_runs(self.runs, self.screen.height - 3, self.height) if running else self.runs:
            state = run.state_name or ""
            seconds = run.estimated_run_time.total_seconds()
            table.add_row(self.mark(state), run.name, self.detail(run, state), f"{seconds:.1f} s")
        return Group(table) if self.runs else Group(self.spinner, Text("starting"))

    def height(self, run: TaskRun) -> int:
        """Return the number of lines for a task run: two if its bar and description may not fit one line."""
        return 2 if str(run.id) in self.progress and self.screen.width < _ONE_LINE else 1

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
        return self.bar(share, text.partition(": ")[2])

    def bar(self, share: float, description: str) -> RenderableType:
        """Return a bar and its description, or only the description on a narrow terminal."""
        if self.screen.width < _WIDE:
            return Text(description)
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=100, completed=share, width=_BAR), description)
        return row


def latest_runs(runs: Sequence[TaskRun], room: int, height: Callable[[TaskRun], int]) -> Sequence[TaskRun]:
    """Return the task runs that fit a number of lines: first those that are not finished, then the latest of the others.

    The order of the task runs is kept.
    """
    kept = set()
    latest_first = runs[::-1]
    for run in sorted(latest_first, key=lambda one: one.state_name in _MARKS):
        room -= height(run)
        if room < 0:
            break
        kept.add(run.id)
    return [run for run in runs if run.id in kept]


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
