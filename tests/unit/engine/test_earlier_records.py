"""Test what the keys of earlier records tell about a step: why it is computed, whether it may be cached, and its time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.engine.cache import Pending
from tasks.engine.cached_task import step
from tasks.engine.earlier_records import (
    EarlierRecord,
    earlier_records,
    explain_miss,
    may_be_cached,
    pending_inputs,
    typical_seconds,
)
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ChangesRecord, Origin
from tasks.storage.content_files import write_content_addressed

FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def parts(seed: int = 1, epochs: int = 3, code: str = "a", **inputs: Any) -> dict[str, Any]:
    return {
        "step": "train",
        "inputs": {"training": {"seed": seed, "epochs": epochs}, **inputs},
        "code": {"tasks.x": code},
        "libraries": {},
    }


def made(key: dict[str, Any], seconds: float = 1, day: int = 0, step: str = "train plain") -> EarlierRecord:
    origin = Origin(step=step, kind="train", run="r", at=FIRST + timedelta(days=day), seconds=seconds)
    return EarlierRecord(origin, key)


def file(name: str) -> list[dict[str, Any]]:
    return [{"path": f"models/{name}", "sha256": name, "bytes": 1}]


@step("note {text}")
def note(text: str, work: Workspace) -> ChangesRecord:
    """Keep a text as a file."""
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "note", ".txt", text.encode()))


def test_the_usual_time_is_the_median_of_the_latest_runs_with_the_most_similar_inputs() -> None:
    others = [made(parts(seed=seed), seconds=seed, day=seed) for seed in range(2, 9)]
    assert typical_seconds(parts(), "train plain", others, "") == (6, 5)
    assert typical_seconds(parts(), "train plain", [*others, made(parts(), seconds=40)], "") == (40, 1)
    assert typical_seconds(parts(), "train other", others, "") == (None, 0)


def test_the_usual_time_of_a_training_grows_with_its_epochs() -> None:
    records = [made(parts(epochs=3), seconds=6)]
    assert typical_seconds(parts(epochs=10), "train plain", records, "training.epochs") == (20, 1)
    assert typical_seconds(parts(epochs=10), "train plain", records, "") == (6, 1)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (parts(model=file("a")), True),
        (parts(model=file("a"), code="b"), False),
        (parts(model=file("a"), seed=2), False),
        (parts(model=file("a"), split=file("b")), False),
    ],
    ids=["same", "other code", "other input", "more inputs"],
)
def test_pending_inputs_leave_open_whether_a_step_is_cached_only_if_all_other_parts_are_known(
    key: dict[str, Any], expected: bool
) -> None:
    now = parts(model=Pending("plain", ("train plain",)))
    assert may_be_cached(now, [made(key)]) is expected
    assert not may_be_cached(now, [])


def test_a_reason_names_no_pending_input() -> None:
    pending = Pending("plain", ("train plain",))
    now = parts(code="b", model=pending)
    assert pending_inputs(now) == [pending]
    assert explain_miss(now, "train plain", [made(parts(model=file("a")))]) == "code: tasks.x"


def test_a_damaged_record_is_skipped(work: Workspace) -> None:
    note.fn("a", work)
    note.fn("b", work)
    (first, _) = sorted(work.root.glob("records/note-*.json"))
    first.write_bytes(first.read_bytes()[:-9])
    assert len(earlier_records("note", work.root)) == 1
