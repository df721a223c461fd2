"""Quiet: imports of libraries that write to standard error below Python's level, which no setting of theirs prevents."""

import importlib
import os
import sys
import tempfile


def without_hdf5_echo() -> None:
    """From now on, drop what h5py says once more of a failed write when its objects go: the write itself has raised it."""
    usual = sys.unraisablehook

    def hook(raised: "sys.UnraisableHookArgs") -> None:
        if "h5py" not in str(raised.object):
            usual(raised)

    sys.unraisablehook = hook


def import_quietly(module: str) -> None:
    """Import a module while what is written to file descriptor 2 goes nowhere; what is raised is raised."""
    if module in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            importlib.import_module(module)
        finally:
            os.dup2(kept, 2)
            os.close(kept)
