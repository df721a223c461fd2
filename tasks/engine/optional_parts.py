"""Execute the parts of a run that may fail without stopping it.

A failed part leaves an Omission: one line in the log, in the terminal, in the output of `--json`, in the report and
in the run's record. The record of a step with an omission is not kept, so that the next run tries again.
Interruptions pass through.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.engine.run_log import log as say_in_run
from tasks.errors import MnistError, first_line
from tasks.safety.redaction import redact
from tasks.safety.stopping import STOPPING
from tasks.schemas.records import Omission

_LOGGER = logging.getLogger(__name__)


@contextmanager
def optional(
    part: str, omitted: list[Omission], *, say: Callable[[str, int], None] = say_in_run, over: bool = False
) -> Iterator[None]:
    """Run a block that may fail; if it fails, add an Omission to `omitted`.

    Cancellations pass through. So do errors after a stop request, unless the run is `over`.

    Args:
        part: The name of the part.
        omitted: The list to add to.
        say: Called with the line to log and its logging level.
        over: Whether the run has already ended.
    """
    try:
        _LOGGER.debug("optional: %s", part)
        yield
    except Exception as error:
        if _is_cancellation(error) or (STOPPING.is_set() and not over):
            raise
        _LOGGER.debug("%s failed", part, exc_info=True)
        omit(part, reason(error), omitted, say=say)


def omit(part: str, why: str, omitted: list[Omission], *, say: Callable[[str, int], None] = say_in_run) -> None:
    """Add an Omission with its reason to `omitted`, and log it as a warning."""
    omitted.append(Omission(part=part, why=why))
    say(omitted[-1].line, logging.WARNING)


def reason(error: Exception) -> str:
    """Return one line without secrets that states the error, with the type of the error if it is not ours."""
    line = first_line(error)
    if isinstance(error, MnistError) or line == type(error).__name__:
        return line
    return redact(f"{type(error).__name__}: {line}")


def _is_cancellation(error: Exception) -> bool:
    """Return whether the error is Prefect's sign that the run was canceled."""
    prefect = sys.modules.get("prefect.exceptions")
    return prefect is not None and isinstance(error, prefect.CancelledRun)
