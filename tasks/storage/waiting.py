"""Say what a process waits for, once, if it takes a while."""

import logging
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 1.0  # before a line says what is waited for
Say = Callable[[str, int], None]  # a line, and its level of logging


class WaitNotice:
    """Says once what is waited for, if it takes a while."""

    def __init__(self, say: Say) -> None:
        self.say, self.began, self.said = say, time.monotonic(), False

    def of(self, line: Callable[[], str]) -> None:
        """Say it, if it is time; only then is the line made."""
        if not self.said and time.monotonic() - self.began > _PATIENCE_SECONDS:
            self.say(line(), logging.WARNING)
            self.said = True
