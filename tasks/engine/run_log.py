"""Log: a line for the person who looks at a run in Prefect's UI. Outside of a run: nothing."""

import logging
import sys

from tasks.safety.plain_text import printable


def log(line: str, level: int = logging.INFO) -> None:
    """Log a line in the log of the task run, or of the flow run, if there is one."""
    if "prefect.context" not in sys.modules:
        return  # no run goes on; and commands such as `mnist runs` need not import Prefect to find that out
    from prefect import get_run_logger  # noqa: PLC0415
    from prefect.context import FlowRunContext, TaskRunContext  # noqa: PLC0415

    if TaskRunContext.get() is not None or FlowRunContext.get() is not None:
        get_run_logger().log(level, printable(line))
