"""Orphans: a run that a worker has started ends when its worker does, however that ends, and soon when it is told to.

A worker that is killed can't end its runs. They would train on, while the server, or a person, has given them up.
"""

import os
import signal
import threading
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Crashed

from flows.processes import stop

_POLL_SECONDS = 1.0
_SECONDS = (
    6.0  # that a run of a worker has to report its end: `mnist serve` ends within 15 s, and its worker within 10 s
)


def exit_with_parent() -> None:
    """From now on, end this process with the worker that started it; a run that a person started goes on by itself."""
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        identity = context.flow_run.id
        stop.ENDING.seconds, stop.ENDING.line = _SECONDS, "a run was told to stop, and its steps did not stop in time"
        stop.ENDING.reports.append(lambda: report_crash(identity))
        if threading.current_thread() is threading.main_thread():
            stop.watch(stop.end)  # Prefect raises SIGTERM in the main thread
        threading.Thread(target=_watch_worker, args=(os.getppid(),), daemon=True).start()


def _watch_worker(parent: int) -> None:
    """Wait until another process has taken the parent's place, then end as if told to: Prefect marks the run as crashed."""
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _SECONDS)
    stop.end()


def report_crash(identity: UUID) -> None:
    """Tell the server that a run has ended, where nobody has told it yet."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(identity).state
        if state is None or not state.is_final():
            message = "Execution was ended by a signal, before all steps had stopped."
            end = Cancelled if state is not None and state.is_cancelling() else Crashed
            client.set_flow_run_state(identity, end(message=message), force=True)
