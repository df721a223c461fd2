"""Handle stop signals: the first SIGINT, SIGTERM or SIGHUP ends a command within seconds, a second one immediately.

The signal is raised in the main thread, whose `with` blocks then clean up and report. A separate thread supervises
this: Python's C handler writes each signal to a pipe, so the thread receives it even while the main thread is blocked
in a call. After the time limit or a second signal, the thread ends all descendants and the process.

This module is imported before any other module, so it imports only a few modules of the standard library.
"""
# ruff: noqa: PLC0415  # late imports: some modules are needed only at the end

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from tasks.safety.stopping import STOPPING

if TYPE_CHECKING:
    import psutil

_SECONDS = 3.0  # for the main thread to clean up and report; with the limits below, the command ends within 5 s
_REPORT_SECONDS = 0.8  # for a final report that the main thread has not made
_KILL_SECONDS = 0.5
_POLL_SECONDS = 0.1
_BOUNCE_SECONDS = 0.1  # `timeout` sends its signal to the process and again to its group
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_LINE = "interrupted; run the same command to continue"


class Ending:
    """What is known about the end of this process: its signals, its exit code, and its time limit."""

    def __init__(self) -> None:
        self.signal: int | None = None  # the first signal
        self.raised = False
        self.code: int | None = None  # exit code of a finished command
        self.seconds = _SECONDS
        self.line = _LINE
        self.at_once = False
        self.second_signal = False  # a second signal came
        # Whether a second signal spares the descendants, which report their end and exit themselves.
        self.spare_descendants = False
        self.reports: list[Callable[[], object]] = []
        self.descendants: set[psutil.Process] = set()
        self.once = threading.Lock()


ENDING = Ending()


def listen() -> None:
    """Handle signals in the main thread from now on, except signals that were ignored before, as under nohup."""
    watch(end)
    for one in _SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _tell_main_thread)
    sys.unraisablehook = _quiet_when_stopping(sys.unraisablehook)
    atexit.register(_leave)  # the first registered function is called last


def call_at_signal(told: Callable[[], object]) -> None:
    """Call a function in the main thread at each signal, instead of raising the signal there.

    The time limit and a second signal still end the process. An event loop must not use its own `add_signal_handler`,
    which would take the signals from the thread that supervises this.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        ENDING.signal = ENDING.signal or number
        STOPPING.set()
        told()

    for one in _SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, handle)


def watch(ended: Callable[[], object]) -> None:
    """Start the thread that receives every signal that has a handler in Python.

    The thread calls `ended` after the time limit or a second signal.
    """
    if os.name != "posix":
        return  # on other systems, only the main thread receives signals
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait_for_signals, args=(reader, ended), daemon=True, name="stop").start()


def _tell_main_thread(number: int, _frame: FrameType | None) -> None:
    """Raise the first signal in the main thread, unless there is nothing to clean up."""
    ENDING.signal = ENDING.signal or number
    if ENDING.raised or ENDING.at_once or ENDING.code is not None:
        return
    ENDING.raised = True
    STOPPING.set()
    raise KeyboardInterrupt


def _wait_for_signals(reader: int, ended: Callable[[], object]) -> None:
    """Wait for a signal, then for the time limit or a second signal."""
    while not (told := [one for one in os.read(reader, 64) if one in _SIGNALS]):
        pass
    ENDING.signal = ENDING.signal or told[0]
    began, second_signal = time.monotonic(), False
    while not second_signal and not ENDING.at_once and time.monotonic() < began + ENDING.seconds:
        _look_for_descendants()
        if select.select([reader], [], [], _POLL_SECONDS)[0]:
            more = any(one in _SIGNALS for one in os.read(reader, 64))
            second_signal = more and time.monotonic() > began + _BOUNCE_SECONDS
        STOPPING.set()  # by now, the handler has had time to set it
    ENDING.second_signal = second_signal
    if not second_signal and ENDING.code is None:
        _report_signal()
    ended()


def _look_for_descendants() -> None:
    """Record all descendants of this process.

    A process that loses its parent could not be found later.
    """
    with suppress(Exception):  # an error must not stop the exit
        import psutil

        ENDING.descendants.update(psutil.Process().children(recursive=True))


def _report_signal() -> None:
    """Run the final reports, with a time limit, because the server may not answer."""
    saying = [threading.Thread(target=one, daemon=True) for one in ENDING.reports]
    for one in saying:
        one.start()
    limit = time.monotonic() + _REPORT_SECONDS
    for one in saying:
        one.join(max(0.0, limit - time.monotonic()))


def end() -> NoReturn:
    """End all descendants and this process, with a one-line reason; only the first thread that calls this proceeds.

    After a second signal, descendants that end by themselves are left alone.
    """
    with ENDING.once:
        if not (ENDING.second_signal and ENDING.spare_descendants):
            _end_descendants()
        code = ENDING.code
        if code is None:
            code = 128 + (ENDING.signal or signal.SIGINT)  # the exit code that a shell uses
            if ENDING.line:
                _say(ENDING.line)
        os._exit(code)


def _end_descendants() -> None:
    """Kill all processes that this process has started, and wait until they have ended."""
    with suppress(Exception):
        import psutil

        for _ in range(3):  # a thread may start another process in the meantime
            _look_for_descendants()
            killed = [one for one in _alive(ENDING.descendants) if not _is_tracker(one)]
            for one in killed:
                with suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(killed, _KILL_SECONDS)
            if not killed:
                break
        _release_resource_tracker()


def _release_resource_tracker() -> None:
    """Remove the semaphores of `multiprocessing`, and let the resource tracker end.

    Otherwise, the tracker would remove them and print a warning.
    """
    trackers = [one for one in _alive(ENDING.descendants) if _is_tracker(one)]
    if trackers and "multiprocessing.resource_tracker" in sys.modules:
        from multiprocessing import resource_tracker, util

        import psutil

        removing = threading.Thread(target=util._run_finalizers, args=(0,), daemon=True)  # type: ignore[attr-defined]  # noqa: SLF001
        removing.start()
        removing.join(_KILL_SECONDS)
        os.close(cast("int", resource_tracker.getfd()))
        psutil.wait_procs(trackers, _KILL_SECONDS)


def _is_tracker(process: "psutil.Process") -> bool:
    """Return whether a process is the resource tracker, which removes semaphores and ends after its last user."""
    import psutil

    with suppress(psutil.Error):
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    return False  # the process has just ended


def _alive(processes: "set[psutil.Process]") -> "Iterator[psutil.Process]":
    import psutil

    for one in processes:
        with suppress(psutil.Error):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                yield one


def _say(line: str) -> None:
    """Write a line on standard error, unless nobody reads there.

    The line bypasses Python's streams, whose locks may be held.
    """
    with suppress(OSError, ValueError):
        shown = "\r\x1b[?25h" if os.isatty(2) else ""  # show the cursor, which a live view hides
        if select.select([], [2], [], 0.2)[1]:
            os.write(2, f"{shown}mnist: {line}\n".encode())


def set_exit_code(code: int) -> None:
    """Set the exit code of a finished command; from now on, a signal only speeds up the exit."""
    ENDING.code = code


def _leave() -> None:
    """Exit without the teardown of all modules, during which Python's signal handlers no longer work."""
    if ENDING.code is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ENDING.code)


def _quiet_when_stopping(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """Return a hook for unraisable errors that ignores those that occur after a stop signal."""

    def called(raised: Any) -> None:
        if not STOPPING.is_set():
            hook(raised)

    return called


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """Let a signal end the process immediately in a block that only imports modules.

    An interrupted import can raise any error.
    """
    ENDING.at_once = True
    try:
        yield
    finally:
        ENDING.at_once = False
    if ENDING.signal:  # a signal came at the last moment, before the thread could handle it
        _tell_main_thread(ENDING.signal, None)


@contextmanager
def reporting(last: Callable[[], object]) -> Iterator[None]:
    """Register a report that runs at the end if the main thread does not get to it in time."""
    ENDING.reports.append(last)
    try:
        yield
    finally:
        ENDING.reports.remove(last)
