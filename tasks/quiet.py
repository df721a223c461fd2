"""Quiet: imports of libraries that write to standard error below Python's level, which no setting of theirs prevents."""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# What Keras imports where it finds it, for functions that no step uses: a third of its own import's time.
NOT_FOR_KERAS = ("matplotlib", "pandas", "sklearn")


def without_hdf5_echo() -> None:
    """From now on, drop what h5py says once more of a failed write when its objects go: the write itself has raised it."""
    usual = sys.unraisablehook

    def hook(raised: "sys.UnraisableHookArgs") -> None:
        if "h5py" not in str(raised.object):
            usual(raised)

    sys.unraisablehook = hook


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
        finally:
            os.dup2(kept, 2)
            os.close(kept)


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
