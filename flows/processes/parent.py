"""End a process with its parent, regardless of how the parent ends.

A killed parent can't end its children. They would continue training after the server or a user has given them up.
"""

import os
import threading
import time
from collections.abc import Callable

STDIN = 0
_POLL_SECONDS = 1.0


def call_at_parent_exit(action: Callable[[], None], *, parent: int | None = None) -> None:
    """Call a function in a thread of its own as soon as the parent has ended.

    Args:
        action: Ends this process.
        parent: The process ID of the parent. Without it, the parent holds the other end of the pipe that is this
            process's standard input; then it can also end this process by closing the pipe.
    """

    def watch() -> None:
        if parent is None:
            while os.read(STDIN, 1024):
                pass
        else:
            while os.getppid() == parent:
                time.sleep(_POLL_SECONDS)
        action()

    threading.Thread(target=watch, name="parent", daemon=True).start()
