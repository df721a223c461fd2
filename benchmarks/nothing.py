"""Measure the orchestration alone: a run that starts like the command, but whose steps do nothing.

Usage: `python -m benchmarks.nothing [without-tensorflow]`.
"""

import sys

BARE = "without-tensorflow"
if BARE in sys.argv:  # at module level, since the worker processes import this module with the same arguments
    from tasks.training import keras_runtime

    keras_runtime.import_keras = lambda: None


def main() -> None:
    """Run the flow on a temporary server, which starts before any slow import."""
    from flows.processes.startup import exclude_imports_from_gc
    from flows.server.local_server import server, start_server

    with start_server() as early:
        with exclude_imports_from_gc():
            from benchmarks.shape import shape
        with server(early) as api:
            api.wait()
            shape()


if __name__ == "__main__":
    main()
