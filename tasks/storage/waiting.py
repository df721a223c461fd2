"""Report once what a process waits for, if the wait takes a while."""

import logging
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 1.0  # wait before the notice
Say = Callable[[str, int], None]  # receives a line and its logging level


class WaitNotice:
    """Notice that reports once what the process waits for, if the wait takes a while."""

    def __init__(self, say: Say) -> None:
        self.say, self.began, self.said = say, time.monotonic(), False

    def of(self, line: Callable[[], str]) -> None:
        """Report the wait if it has taken long enough; `line` is called only then."""
        if not self.said and time.monotonic() - self.began > _PATIENCE_SECONDS:
            self.say(line(), logging.WARNING)
            self.said = True
