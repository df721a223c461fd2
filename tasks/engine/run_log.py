"""Log lines that appear with a run in the Prefect UI."""

import logging
import sys

from tasks.safety.plain_text import printable


def log(line: str, level: int = logging.INFO) -> None:
    """Log a line to the current task run or flow run; do nothing outside a run."""
    if "prefect.context" not in sys.modules:
        return  # no run is active, and commands such as `mnist runs` need not import Prefect to find out
    from prefect import get_run_logger  # noqa: PLC0415
    from prefect.context import FlowRunContext, TaskRunContext  # noqa: PLC0415

    if TaskRunContext.get() is not None or FlowRunContext.get() is not None:
        get_run_logger().log(level, printable(line))
