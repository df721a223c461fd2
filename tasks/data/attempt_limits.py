"""Limit the duration of one download attempt from one mirror, and detect a mirror that is too slow.

An attempt starts before the host name is resolved. It includes handshakes, headers, redirects, delays that the mirror
requests, and every resumption of an interrupted download.
"""

import time
from collections import deque

from tasks.safety.redaction import redact
from tasks.safety.stopping import pause

_ALLOWANCE_SECONDS = 30.0  # for everything except the transfer of the archive itself
_RATE = 16 * 1024  # bytes per second; MNIST takes 12 minutes at this rate
_SLOW_SECONDS = 30.0  # below that rate; longer than the longest stall that is allowed


class MirrorError(Exception):  # not an MnistError: the mirror failed, not the run
    """Reason why one mirror was skipped.

    `transient` is true if a later attempt might succeed. `wait` is the delay in seconds that the mirror requested, if
    any.
    """

    def __init__(self, reason: str, *, transient: bool = False, wait: float | None = None) -> None:
        super().__init__(redact(reason))
        self.transient, self.wait = transient, wait


class AttemptLimit:
    """Time limit of one download attempt.

    `size` is the expected number of bytes, or 0 until the mirror announces it.
    """

    def __init__(self, size: int = 0) -> None:
        self.began = time.monotonic()
        self.received = 0
        self.has_answer = False
        self.samples = deque([(self.began, 0)])  # (time, bytes received by then)
        self.expect(size)

    def expect(self, size: int) -> None:
        """Set the expected number of bytes, and derive the time limit from it."""
        self.size = size
        self.seconds = _ALLOWANCE_SECONDS + size / _RATE

    def start_transfer(self) -> None:
        """Start measuring the transfer rate at the first answer.

        A slow start is covered by the time allowance and does not count as a slow download.
        """
        if not self.has_answer:
            self.has_answer = True
            self.samples = deque([(time.monotonic(), self.received)])

    def count(self, size: int) -> None:
        """Add `size` to the number of bytes received."""
        self.received += size

    def pause(self, seconds: float) -> None:
        """Wait because the mirror requests a delay, which does not count as slowness.

        Raises:
            Interrupted: If the process has been asked to stop.
        """
        pause(seconds)
        self.samples = deque((moment + seconds, received) for moment, received in self.samples)

    def check(self) -> None:
        """Check that the attempt is within its time limit and the mirror is fast enough.

        Raises:
            MirrorError: If the time limit is exceeded, or the rate was too low for too long; the mirror is not retried.
        """
        now = time.monotonic()
        if now - self.began > self.seconds:
            what = f"{self.size:,} bytes" if self.size else "the first response"
            raise MirrorError(f"it exceeded the limit of {self.seconds:.0f} s for {what}")
        self.samples.append((now, self.received))
        while self.samples[1][0] <= now - _SLOW_SECONDS:
            self.samples.popleft()
        then, received = self.samples[0]
        size = self.received - received
        if now - then >= _SLOW_SECONDS and size < _RATE * (now - then):
            raise MirrorError(f"it sent only {size:,} bytes in {now - then:.0f} s")
