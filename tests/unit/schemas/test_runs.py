"""Test the address of a flow run in Prefect's UI, and the form in which flow runs are kept."""

from uuid import UUID

import pytest

from tasks.schemas.runs import FlowRun

ID = UUID(int=1)


def flow_run(at: str, ui: str = "") -> FlowRun:
    return FlowRun(id=ID, flow=UUID(int=2), at=at, root="/root", ui=ui)


@pytest.mark.parametrize(
    ("at", "ui", "server"),
    [
        ("/home/me/.prefect/prefect.db", "", "http://127.0.0.1:4200"),
        ("postgresql+asyncpg://***@host/prefect", "", "http://127.0.0.1:4200"),
        ("https://prefect.example/api", "", "https://prefect.example"),
        ("https://prefect.example/api", "https://ui.example/", "https://ui.example"),
    ],
)
def test_a_flow_run_has_one_address_in_the_ui(at: str, ui: str, server: str) -> None:
    one = flow_run(at, ui)
    assert one.url == f"{server}/runs/flow-run/{ID}"
    assert one.needs_serve == (server == "http://127.0.0.1:4200")


def test_a_flow_run_of_an_earlier_version_is_written_as_it_was() -> None:
    """Check this because names of files contain the hash of these documents."""
    assert set(flow_run("/db").model_dump(mode="json")) == {"id", "flow", "at", "root"}
    new = flow_run("/db", "https://ui.example").model_copy(update={"tags": ("trial",)})
    assert FlowRun.model_validate_json(new.model_dump_json()) == new
