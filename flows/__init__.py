"""Prefect flows, which only call tasks, and the `mnist` command."""

import os
import signal
import sys

# Until the command installs its signal handlers, Ctrl-C ends it like SIGTERM, without a traceback: no work has begun yet.
if os.path.basename(sys.argv[0]) == "mnist" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # noqa: PTH119
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Import the `tasks` of this project, not another one on the path, before any library: it sets up the environment.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
import tasks  # noqa: F401

del sys.path[0]

from flows.processes import settings_files  # noqa: E402

settings_files.watch_imports()  # here, so that it precedes every import of Prefect
