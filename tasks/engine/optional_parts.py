"""Optional: the parts of a run that may fail without stopping it.

In: the name of a part, and a block that makes it. Out: an Omission where the block failed, which becomes one line in the log,
in the terminal, in `--json`, in the report and in the run's record. A step that left a part out is not kept: the next run tries
again. Interruptions pass through.
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
    """Carry out a block that may fail; add an Omission to `omitted` if it does.

    An error that follows an order to stop passes through, unless the run is `over` already.
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
    """Note that a part is left out, and why, and say so in the log."""
    omitted.append(Omission(part=part, why=why))
    say(omitted[-1].line, logging.WARNING)


def reason(error: Exception) -> str:
    """Return one line without secrets that says what went wrong; for an error that is not ours, with its type."""
    line = first_line(error)
    if isinstance(error, MnistError) or line == type(error).__name__:
        return line
    return redact(f"{type(error).__name__}: {line}")


def _is_cancellation(error: Exception) -> bool:
    """Return whether Prefect says by an error that somebody has canceled the run."""
    prefect = sys.modules.get("prefect.exceptions")
    return prefect is not None and isinstance(error, prefect.CancelledRun)
