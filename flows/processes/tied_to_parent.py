"""Run a Python module as a command that ends with its parent, regardless of how the parent ends.

`python -P -m flows.processes.tied_to_parent MODULE ARGUMENT...` runs the module; the parent holds the other end of a
pipe that is its standard input. When the pipe ends, the process terminates its children, then itself. If it does not
end in time, it kills itself.
"""

import runpy
import signal
import sys
import time

import psutil

from flows.processes.parent import call_at_parent_exit
from flows.processes.stop import ENDING
from tasks.safety.redaction import redact_all_output

# Time for the runs of a worker to report their end to the server; the worker itself would only kill them. Their own
# limit is 6 s, or 7 s with the final report (flows/processes/tied_to_worker.py). The limit of `mnist serve` for the
# worker and the server together is 14 s.
_CHILDREN_SECONDS = 8.0
_END_SECONDS = 2.0


def _end_with_children() -> None:
    ENDING.line = ""  # the parent prints the reason
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
    call_at_parent_exit(_end_with_children)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
