"""Flows that only call tasks, and the `mnist` command."""

import os
import signal
import sys

# Until the command handles signals itself, Ctrl-C ends it as SIGTERM does: nothing was begun, and no traceback is of use.
if os.path.basename(sys.argv[0]) == "mnist" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # noqa: PTH119
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# The project's own `tasks` decides what of the environment counts, before anything else is imported, and whose `tasks` that is.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
import tasks  # noqa: F401

del sys.path[0]

from flows.processes import settings_files  # noqa: E402

settings_files.watch_imports()  # whichever module of this package a process starts with, and whatever that one imports next
