"""Log: a line for the person who looks at a run in Prefect's UI. Outside of a run: nothing."""

import logging

from prefect import get_run_logger
from prefect.context import FlowRunContext, TaskRunContext


def say(line: str, level: int = logging.INFO) -> None:
    """Log a line in the log of the task run, or of the flow run, if there is one."""
    if TaskRunContext.get() is not None or FlowRunContext.get() is not None:
        get_run_logger().log(level, line)
