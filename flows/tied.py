"""Tied: run a Python module as a command that ends when its parent does, however the parent ends.

In: `python -m flows.tied MODULE ARGUMENT...`, with a pipe as standard input that the parent holds open. Out: what the module
does. When the pipe ends, the process is told to terminate, as a supervisor would; what does not listen is ended.
"""

import os
import runpy
import signal
import sys
import threading
import time

END_SECONDS = 40.0  # for a worker to end its runs, which first tell the server


def end_with_parent() -> None:
    """Wait for the end of standard input, then terminate this process."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    del sys.argv[0]
    threading.Thread(target=end_with_parent, daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
