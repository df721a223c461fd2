"""The orchestration alone: a run that starts as the command does, of steps that do nothing.

`python -m benchmarks.nothing [without-tensorflow]`.
"""

import sys

BARE = "without-tensorflow"
if BARE in sys.argv:  # here, since the worker processes import this module, and see the arguments, too
    from tasks.training import keras_runtime

    keras_runtime.import_keras = lambda: None


def main() -> None:
    """Run the flow on a server of its own, which starts before anything slow is imported."""
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
