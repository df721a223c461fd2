"""Log: a line for the person who looks at a task run in Prefect's UI. Outside of a task run: nothing."""

import logging

from prefect import get_run_logger
from prefect.context import TaskRunContext


def say(line: str, level: int = logging.INFO) -> None:
    """Log a line in the task run's log, if there is one."""
    if TaskRunContext.get() is not None:
        get_run_logger().log(level, line)
