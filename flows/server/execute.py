"""Run one flow run in a separate process, as the worker starts it: `python -P -m flows.server.execute FLOW WORKER_PID`.

FLOW is the name of one of the project's flows; the variable PREFECT__FLOW_RUN_ID holds the flow run's id. Prefect's own
engine would ask the API which code to load. This module does not, and it never reads the result of a state that the API
names, because reading it would unpickle it.
"""
# ruff: noqa: PLC0415  # late imports: an error that keeps Prefect from being imported is then reported in one line

import os
import sys
from logging import Logger
from typing import cast
from uuid import UUID

from flows.processes.console import exit_with_one_line
from flows.processes.prefect_compat import FLOW_RUN_ID_VARIABLE, listen_to_worker
from flows.server.vetting import FLOW_NAMES, flow_of


def _execute(name: str, flow_run_id: UUID) -> None:
    """Run a flow and report its final state to the API and to the worker."""
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow_run, run_flow
    from prefect.logging.loggers import flow_run_logger

    listen_to_worker()
    with handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        flow = flow_of(name)
        logger = flow_run_logger(flow_run, flow)
        run_flow(flow, flow_run=flow_run, return_type="state", error_logger=cast("Logger", logger))


def main(name: str, worker: str) -> None:
    """Run a flow, unless its name is unknown or its worker has ended in the meantime.

    Raises:
        SystemExit: If no flow has this name, or the worker is no longer the parent process.
    """
    import prefect.flow_engine  # noqa: F401  # the import takes a second, in which the worker may end

    if name not in FLOW_NAMES:
        sys.exit(f"mnist: no flow is called {name!r}: give {' or '.join(FLOW_NAMES)}")
    if os.getppid() != int(worker):
        sys.exit("mnist: the worker that started this run has ended")
    from flows.processes.log_filters import ignore_broken_pipe, mask_prefect_settings

    mask_prefect_settings()
    ignore_broken_pipe()
    _execute(name, UUID(os.environ[FLOW_RUN_ID_VARIABLE]))


if __name__ == "__main__":
    with exit_with_one_line():
        main(*sys.argv[1:])
