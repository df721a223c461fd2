"""Stop: the first SIGINT, SIGTERM or SIGHUP ends a command within seconds, the second one at once.

The signal is raised in the main thread, whose `with` blocks then undo and report. A thread of its own watches over that: Python
writes each signal into a pipe from its C handler, so the thread hears of it even while the main thread is stuck in a call. When
the time is over, or a second signal comes, it ends all descendants and the process.

Imported before anything else: the standard library alone, and little of it.
"""
# ruff: noqa: PLC0415  # what only an end needs is imported then

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from tasks.safety.stopping import STOPPING

if TYPE_CHECKING:
    import psutil

_SECONDS = 3.0  # for the main thread to undo and report; with what follows, the command ends within 5 s
_REPORT_SECONDS = 0.8  # for a last report, where the main thread has not come to it
_KILL_SECONDS = 0.5
_POLL_SECONDS = 0.1
_BOUNCE_SECONDS = 0.1  # `timeout` sends its signal to the process, and once more to its group
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_LINE = "interrupted; the same command goes on from where it was"


class Ending:
    """What is known of this process's end."""

    def __init__(self) -> None:
        self.signal: int | None = None  # the first that came
        self.raised = False
        self.code: int | None = None  # of a command that has done its work
        self.seconds = _SECONDS
        self.line = _LINE
        self.at_once = False
        self.reports: list[Callable[[], object]] = []
        self.descendants: set[psutil.Process] = set()
        self.once = threading.Lock()


ENDING = Ending()


def listen() -> None:
    """Handle signals from now on, in the main thread; what the parent has had ignored, as nohup does, stays ignored."""
    watch(end)
    for one in _SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _tell_main_thread)
    sys.unraisablehook = _quiet_when_stopping(sys.unraisablehook)
    atexit.register(_leave)  # the first to be registered is the last to be called


def watch(ended: Callable[[], object]) -> None:
    """Start the thread that hears of every signal that has a handler in Python; after time has run out, it calls `ended`."""
    if os.name != "posix":
        return  # elsewhere, only the main thread hears of a signal
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait_for_signals, args=(reader, ended), daemon=True, name="stop").start()


def _tell_main_thread(number: int, _frame: FrameType | None) -> None:
    """Raise the first signal in the main thread, unless there is nothing to undo.

    Raises:
        KeyboardInterrupt: in the middle of a command.
    """
    ENDING.signal = ENDING.signal or number
    if ENDING.raised or ENDING.at_once or ENDING.code is not None:
        return
    ENDING.raised = True
    STOPPING.set()
    raise KeyboardInterrupt


def _wait_for_signals(reader: int, ended: Callable[[], object]) -> None:
    """Wait for a signal, then for the end of its time or a second signal."""
    while not (told := [one for one in os.read(reader, 64) if one in _SIGNALS]):
        pass
    ENDING.signal = ENDING.signal or told[0]
    began, again = time.monotonic(), False
    while not again and not ENDING.at_once and time.monotonic() < began + ENDING.seconds:
        _look_for_descendants()
        if select.select([reader], [], [], _POLL_SECONDS)[0]:
            more = any(one in _SIGNALS for one in os.read(reader, 64))
            again = more and time.monotonic() > began + _BOUNCE_SECONDS
        STOPPING.set()  # by now, the handler has had the time to do so
    if not again and ENDING.code is None:
        _report_signal()
    ended()


def _look_for_descendants() -> None:
    """Note all processes that this one has started, and those that they have: who loses its parent would not be found later."""
    with suppress(Exception):  # an end is no place for errors
        import psutil

        ENDING.descendants.update(psutil.Process().children(recursive=True))


def _report_signal() -> None:
    """Say what there is to be said at the end, to a server that may not answer."""
    saying = [threading.Thread(target=one, daemon=True) for one in ENDING.reports]
    for one in saying:
        one.start()
    limit = time.monotonic() + _REPORT_SECONDS
    for one in saying:
        one.join(max(0.0, limit - time.monotonic()))


def end() -> NoReturn:
    """End all descendants and this process, which says why in one line; whichever thread calls this first does it."""
    with ENDING.once:
        _end_descendants()
        code = ENDING.code
        if code is None:
            code = 128 + (ENDING.signal or signal.SIGINT)  # as a shell has it
            if ENDING.line:
                _say(ENDING.line)
        os._exit(code)


def _end_descendants() -> None:
    """Kill all that this process has started, and wait until it is gone."""
    with suppress(Exception):
        import psutil

        for _ in range(3):  # a thread may have started another process in the meantime
            _look_for_descendants()
            killed = [one for one in _alive(ENDING.descendants) if not _is_tracker(one)]
            for one in killed:
                with suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(killed, _KILL_SECONDS)
            if not killed:
                break
        _let_tracker_go()


def _let_tracker_go() -> None:
    """Remove the semaphores of `multiprocessing`, and let the process go that otherwise does so, and warns of it."""
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
    """Whether a process is the one that removes semaphores, and ends once no other uses them."""
    import psutil

    with suppress(psutil.Error):
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    return False  # it has just ended


def _alive(processes: "set[psutil.Process]") -> "Iterator[psutil.Process]":
    """Those of some processes that have not ended."""
    import psutil

    for one in processes:
        with suppress(psutil.Error):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                yield one


def _say(line: str) -> None:
    """Write a line on standard error, past Python's streams, whose locks may be held; not if nobody reads there."""
    with suppress(OSError, ValueError):
        shown = "\r\x1b[?25h" if os.isatty(2) else ""  # a live view hides the cursor
        if select.select([], [2], [], 0.2)[1]:
            os.write(2, f"{shown}mnist: {line}\n".encode())


def restore_signals(code: int) -> None:
    """The command has done its work: from now on, a signal only hastens the end, and does not change the exit code."""
    ENDING.code = code


def _leave() -> None:
    """End without taking apart all modules, during which Python has no handlers any more."""
    if ENDING.code is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(ENDING.code)


def _quiet_when_stopping(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook for errors that nobody catches, which says nothing of those that an interruption has led to."""

    def called(raised: Any) -> None:
        if not STOPPING.is_set():
            hook(raised)

    return called


@contextmanager
def nothing_to_undo() -> Iterator[None]:
    """While only modules are imported, a signal ends the process at once: an import that is interrupted raises anything."""
    ENDING.at_once = True
    try:
        yield
    finally:
        ENDING.at_once = False
    if ENDING.signal:  # it came at the last moment, and the thread has not yet seen it
        _tell_main_thread(ENDING.signal, None)


@contextmanager
def kill_process_group() -> Iterator[None]:
    """Keep Prefect from handling SIGTERM in a flow of this process: it would send the signal on, as if a second had come."""
    from prefect import flow_engine

    names = vars(flow_engine)
    theirs = names["capture_sigterm"]
    names["capture_sigterm"] = nullcontext
    try:
        yield
    finally:
        names["capture_sigterm"] = theirs


@contextmanager
def reporting(last: Callable[[], object]) -> Iterator[None]:
    """Have something said at the end, if the main thread does not come to it in time."""
    ENDING.reports.append(last)
    try:
        yield
    finally:
        ENDING.reports.remove(last)
