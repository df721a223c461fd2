"""Quiet: imports of libraries that write to standard error below Python's level, which no setting of theirs prevents."""

import importlib
import os
import sys
import tempfile


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
