"""Test the mechanism for optional parts."""

import pytest

from tasks.engine.cached_task import step
from tasks.engine.optional_parts import optional
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.safety.stopping import STOPPING, Interrupted
from tasks.schemas.records import ChangesRecord, Omission
from tasks.storage.content_files import write_content_addressed

FAILING = [True]


@step("partial")
def partial(work: Workspace) -> ChangesRecord:
    """Omit a part that fails."""
    omitted: list[Omission] = []
    text = b"without"
    with optional("the figure", omitted):
        if FAILING[0]:
            raise ValueError("no font")
        text = b"with"
    return ChangesRecord(
        file=write_content_addressed(work.root, "notes", "partial", ".txt", text), omitted=tuple(omitted)
    )


def failing(error: BaseException, *, over: bool = False) -> list[Omission]:
    omitted: list[Omission] = []
    with optional("a part", omitted, over=over):
        raise error
    return omitted


def test_an_error_becomes_one_line_without_secrets() -> None:
    (own,) = failing(StorageError("can't write x"))
    (other,) = failing(ValueError("GET https://user:s3cret@host/x failed\nand more"))
    assert own.line == "left out: a part: can't write x"
    assert other.line.startswith("left out: a part: ValueError: GET https://")
    assert "s3cret" not in other.line
    assert "\n" not in other.line
    assert failing(ValueError())[0].why == "ValueError"


@pytest.mark.parametrize("error", [KeyboardInterrupt, Interrupted, SystemExit])
def test_an_interruption_passes_through(error: type[BaseException]) -> None:
    with pytest.raises(error):
        failing(error())


def test_a_canceled_run_passes_through() -> None:
    from prefect.exceptions import CancelledRun

    with pytest.raises(CancelledRun):
        failing(CancelledRun())


def test_errors_after_a_stop_request_pass_through() -> None:
    STOPPING.set()
    try:
        with pytest.raises(ConnectionError):
            failing(ConnectionError())
        assert failing(ConnectionError(), over=True)
    finally:
        STOPPING.clear()


def test_the_record_of_a_step_with_an_omission_is_not_kept(work: Workspace) -> None:
    FAILING[0] = True
    first = partial.fn(work)
    assert [one.line for one in first.omitted] == ["left out: the figure: ValueError: no font"]
    FAILING[0] = False
    again = partial.fn(work.model_copy(update={"run": "later"}))
    assert again.omitted == ()
    assert again.origin is not None
    assert again.origin.run == "later"
    assert partial.fn(work) == again
