"""Stop this process promptly on request.

The handlers of SIGINT, SIGTERM and SIGHUP set `STOPPING`; code that waits or loops then raises `Interrupted`. Every
wait uses `pause`, so that it ends as soon as the process is asked to stop.
"""

import threading

STOPPING = threading.Event()


class Interrupted(BaseException):  # like KeyboardInterrupt: a request, not an error
    """The process has been asked to stop.

    This is not an `Exception`, so that no error handler catches it: the download does not try the next mirror, and
    Prefect records the task run as crashed, which is not retried. Partial results stay for the next run.
    """


def raise_if_stopping() -> None:
    """Raise `Interrupted` if the process has been asked to stop.

    Raises:
        Interrupted: If the process has been asked to stop.
    """
    if STOPPING.is_set():
        raise Interrupted("asked to stop")


def pause(seconds: float) -> None:
    """Sleep for a number of seconds, unless the process is asked to stop.

    Raises:
        Interrupted: If the process is asked to stop before the time is over.
    """
    if STOPPING.wait(seconds):
        raise Interrupted("asked to stop")
