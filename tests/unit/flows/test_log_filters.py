"""Test which tracebacks of runs are not logged."""

import logging

import pytest

from flows.processes.log_filters import hide_expected_tracebacks
from tasks.errors import InputError


@pytest.mark.parametrize(
    ("error", "is_shown"),
    [
        (InputError("wrong"), False),
        (ValueError("Error calling function `_ser_model`: TerminationSignal: "), False),  # as of pydantic
        (ValueError("a defect"), True),
    ],
)
def test_only_unexpected_errors_of_runs_are_logged_with_a_traceback(
    error: Exception, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("prefect.flow_runs")
    monkeypatch.setattr(logger, "filters", [])
    hide_expected_tracebacks()
    record = logging.LogRecord("", logging.ERROR, "", 1, "failed", (), (type(error), error, None))
    assert logger.filter(record)
    assert bool(record.exc_info) is is_shown
