"""End a run with the worker that started it, and soon after a stop signal."""

import os
import signal
import threading
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Crashed

from flows.processes import stop
from flows.processes.parent import call_at_parent_exit

# Time for a run of a worker to report its end: `mnist serve` ends within 15 s, and its worker within 10 s.
_SECONDS = 6.0


def exit_with_parent() -> None:
    """End this process, from now on, with the worker that started it.

    A run that a user has started directly is not affected.
    """
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        identity = context.flow_run.id
        stop.ENDING.seconds, stop.ENDING.line = _SECONDS, "a run was asked to stop, but its steps did not stop in time"
        stop.ENDING.reports.append(lambda: report_crash(identity))
        if threading.current_thread() is threading.main_thread():
            stop.watch(stop.end)  # Prefect's handler of SIGTERM raises an error in the main thread
        call_at_parent_exit(_end_run, parent=os.getppid())


def _end_run() -> None:
    """Send SIGTERM to this process, so that Prefect marks the run as crashed; end without Prefect if that takes long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _SECONDS)
    stop.end()


def report_crash(identity: UUID) -> None:
    """Set the final state of a run at the server, unless the run already has a final state."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(identity).state
        if state is None or not state.is_final():
            message = "A signal ended the run before all steps had stopped."
            end = Cancelled if state is not None and state.is_cancelling() else Crashed
            client.set_flow_run_state(identity, end(message=message), force=True)
