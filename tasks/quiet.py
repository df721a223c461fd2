"""Quiet: imports of libraries that write to standard error below Python's level, which no setting of theirs prevents."""

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from tasks.safety.environment import KERAS_CACHE

# What Keras imports where it finds it, for functions that no step uses: a third of its own import's time.
NOT_FOR_KERAS = ("matplotlib", "pandas", "sklearn")


def without_hdf5_echo() -> None:
    """From now on, drop what h5py says once more of a failed write when its objects go: the write itself has raised it.

    Each of them says it twice: as an error that nobody has caught, and as one that can't be raised.
    """
    uncaught, unraisable = sys.excepthook, sys.unraisablehook

    def uncaught_hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not any(frame.f_code.co_name.startswith("h5py._objects") for frame, _ in traceback.walk_tb(trace)):
            uncaught(kind, error, trace)

    def unraisable_hook(raised: "sys.UnraisableHookArgs") -> None:
        if "h5py" not in str(raised.object):
            unraisable(raised)

    sys.excepthook, sys.unraisablehook = uncaught_hook, unraisable_hook


def import_keras() -> None:
    """Import Keras and TensorFlow while what is written to file descriptor 2 goes nowhere; what is raised is raised."""
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, hidden(NOT_FOR_KERAS):
        os.dup2(sink.fileno(), 2)
        try:
            importlib.import_module("keras")
            keep_downloads_with_the_user()
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def keep_downloads_with_the_user() -> None:
    """Let `keras.utils.get_file`, which a user's function may call, keep files where Keras would without our settings."""
    config = importlib.import_module("keras.src.backend.config")
    config._KERAS_DIR = os.environ.get(KERAS_CACHE) or os.path.expanduser("~/.keras")  # type: ignore[attr-defined]  # noqa: PTH111, SLF001


@contextmanager
def hidden(packages: Sequence[str]) -> Iterator[None]:
    """Packages as if they were not installed, unless they are imported already."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None is how Python itself says it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
