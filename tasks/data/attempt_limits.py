"""Patience: how long one attempt at one mirror may take, and how slow the mirror may be.

In: how many bytes are to come, and how many have. Out: nothing, or a MirrorFault once it takes too long.
An attempt begins before the name of the host is looked up, and includes handshakes, headers, redirects, waits that the mirror
asks for, and every time that a download which broke off is taken up again.
"""

import time
from collections import deque

from tasks.safety.redaction import redact
from tasks.safety.stopping import pause

_ALLOWANCE_SECONDS = 30.0  # for all that is not the archive itself
_RATE = 16 * 1024  # bytes a second: at less, MNIST takes 12 minutes
_SLOW_SECONDS = 30.0  # below that rate: longer than any single stall may last


class MirrorError(Exception):  # a fault of the mirror, not of the run
    """Why one mirror was passed over; `passing` if a later try might succeed, `wait` in how many seconds it says so."""

    def __init__(self, reason: str, *, passing: bool = False, wait: float | None = None) -> None:
        super().__init__(redact(reason))
        self.passing, self.wait = passing, wait


class AttemptLimit:
    """The time that is left for one attempt; `size` is how many bytes are to come, as long as the mirror has not said so."""

    def __init__(self, size: int = 0) -> None:
        self.began = time.monotonic()
        self.received = 0
        self.has_answer = False
        self.samples = deque([(self.began, 0)])  # when, and how many bytes had come by then
        self.expect(size)

    def expect(self, size: int) -> None:
        """Allow the time for so many bytes."""
        self.size = size
        self.seconds = _ALLOWANCE_SECONDS + size / _RATE

    def answered(self) -> None:
        """Measure the rate from the first answer on: a slow start has its own time, and is no slow download."""
        if not self.has_answer:
            self.has_answer = True
            self.samples = deque([(time.monotonic(), self.received)])

    def count(self, size: int) -> None:
        """Take note of bytes that have come."""
        self.received += size

    def pause(self, seconds: float) -> None:
        """Wait because the mirror asks to: that is no slowness of it.

        Raises:
            Interrupted: the process has been told to stop.
        """
        pause(seconds)
        self.samples = deque((moment + seconds, received) for moment, received in self.samples)

    def check(self) -> None:
        """See whether it takes too long.

        Raises:
            MirrorFault: the allowance is used up, or too few bytes have come for too long; that mirror is not asked again.
        """
        now = time.monotonic()
        if now - self.began > self.seconds:
            what = f"{self.size:,} bytes" if self.size else "an answer"
            raise MirrorError(f"it took more than the {self.seconds:.0f} s that {what} may take")
        self.samples.append((now, self.received))
        while self.samples[1][0] <= now - _SLOW_SECONDS:
            self.samples.popleft()
        then, received = self.samples[0]
        size = self.received - received
        if now - then >= _SLOW_SECONDS and size < _RATE * (now - then):
            raise MirrorError(f"it sent only {size:,} bytes in {now - then:.0f} s")
