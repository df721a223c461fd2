"""End a run with the worker that started it, regardless of how the worker ends, and soon after a signal to stop.

A killed worker can't end its runs. They would continue training after the server or a user has given them up.
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
# Time for a run of a worker to report its end: `mnist serve` ends within 15 s, and its worker within 10 s.
_SECONDS = 6.0


def exit_with_parent() -> None:
    """End this process, from now on, with the worker that started it.

    A run that a user has started directly is not affected.
    """
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        identity = context.flow_run.id
        stop.ENDING.seconds, stop.ENDING.line = _SECONDS, "a run was told to stop, and its steps did not stop in time"
        stop.ENDING.reports.append(lambda: report_crash(identity))
        if threading.current_thread() is threading.main_thread():
            stop.watch(stop.end)  # Prefect's handler of SIGTERM raises an error in the main thread
        threading.Thread(target=_watch_worker, args=(os.getppid(),), daemon=True).start()


def _watch_worker(parent: int) -> None:
    """Wait until the process gets another parent, then send SIGTERM to this process.

    Prefect then marks the run as crashed. If the process does not end in time, it is ended without Prefect.
    """
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _SECONDS)
    stop.end()


def report_crash(identity: UUID) -> None:
    """Set the final state of a run at the server, unless the run already has a final state."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(identity).state
        if state is None or not state.is_final():
            message = "Execution was ended by a signal, before all steps had stopped."
            end = Cancelled if state is not None and state.is_cancelling() else Crashed
            client.set_flow_run_state(identity, end(message=message), force=True)
