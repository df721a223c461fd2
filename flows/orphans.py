"""Orphans: a run that a worker has started ends when its worker does, however that ends.

A worker that is killed can't end its runs. They would train on, while the server, or a person, has given them up.
"""

import os
import signal
import threading
import time

from prefect.context import FlowRunContext

POLL_SECONDS = 1.0
END_SECONDS = 30.0  # to tell the server, and to end the worker processes


def end_with_worker() -> None:
    """From now on, end this process with the worker that started it; a run that a person started goes on by itself."""
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def watch(parent: int) -> None:
    """Wait until another process has taken the parent's place, then end as if told to: Prefect marks the run as crashed."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)
