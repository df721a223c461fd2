"""Tied: run a Python module as a command that ends when its parent does, however the parent ends.

In: `python -P -m flows.processes.tied_to_parent MODULE ARGUMENT...`, with a pipe as standard input that the parent holds open.
Out: what the module does. When the pipe ends, its child processes are told to terminate, then the process itself; what does not
listen is ended.
"""

import os
import runpy
import signal
import sys
import threading
import time

import psutil

from flows.processes.stop import ENDING
from tasks.safety.redaction import redact_all_output

_STDIN = 0
# For the runs of a worker to tell the server that they end: the worker itself would only kill them. Their own limit is
# 6 s, the last report included 7 s (flows/processes/tied_to_worker.py); that of `mnist serve`, for the worker and the
# server together, is 14 s.
_CHILDREN_SECONDS = 8.0
_END_SECONDS = 2.0


def _run_until_parent_exits() -> None:
    """Wait for the end of standard input, then terminate the children and this process."""
    while os.read(_STDIN, 1):
        pass
    ENDING.line = ""  # the parent says why
    this = psutil.Process()
    children = this.children()
    for child in children:
        child.terminate()
    psutil.wait_procs(children, _CHILDREN_SECONDS)
    this.send_signal(signal.SIGTERM)
    time.sleep(_END_SECONDS)
    this.kill()


if __name__ == "__main__":
    redact_all_output()
    del sys.argv[0]
    threading.Thread(target=_run_until_parent_exits, daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
