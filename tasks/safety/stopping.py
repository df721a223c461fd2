"""Stopping: whether this process has been told to stop.

In: `STOPPING`, which the handler of SIGINT and SIGTERM sets. Out: `Interrupted`, where something waits or loops.
A wait of any length belongs into `pause`, so that it ends at once when the process is told to stop.
"""

import threading

STOPPING = threading.Event()


class Interrupted(BaseException):  # as KeyboardInterrupt: no error, but an order
    """The process has been told to stop.

    Not an Exception, so that no handler of faults takes it for a fault: a mirror is not passed over for it, and Prefect
    records the task run as crashed, which its retries leave alone. What was written until then stays for the next run.
    """


def raise_if_stopping() -> None:
    """Raise Interrupted if the process has been told to stop.

    Raises:
        Interrupted: it has.
    """
    if STOPPING.is_set():
        raise Interrupted("told to stop")


def pause(seconds: float) -> None:
    """Sleep, unless the process is told to stop.

    Raises:
        Interrupted: it was, before the time was over.
    """
    if STOPPING.wait(seconds):
        raise Interrupted("told to stop")
