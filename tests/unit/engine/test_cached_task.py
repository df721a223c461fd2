import importlib
import pkgutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, flow

import tasks
from tasks.engine import cache
from tasks.engine.cache import identity
from tasks.engine.cached_task import step
from tasks.engine.processor import processor
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError, WorkerError
from tasks.schemas.records import ChangesRecord, Record
from tasks.storage.checksummed_json import add_checksum
from tasks.storage.content_files import write_content_addressed

CALLS: list[str] = []


@step("note-{text}", libraries=("numpy",), unkeyed=("hint",))
def note(text: str, work: Workspace, hint: str = "") -> ChangesRecord:
    """Keep a text as a file."""
    CALLS.append(text + hint)
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "note", ".txt", text.encode()))


@step("stall", timeout_seconds=0.5)
def stall(work: Workspace) -> ChangesRecord:
    """Take longer than the time limit."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        time.sleep(0.05)
    raise AssertionError("nobody has ended it")


@step("slow")
def slow(work: Workspace) -> ChangesRecord:
    """Take some time."""
    CALLS.append("slow")
    time.sleep(0.5)
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "slow", ".txt", b"slow"))


@step("pair")
def pair(notes: Sequence[ChangesRecord], settings: dict[str, Any], work: Workspace) -> ChangesRecord:
    """Depend on two records and some settings."""
    return ChangesRecord(
        file=write_content_addressed(work.root, "notes", "pair", ".txt", f"{len(notes)} {settings}".encode())
    )


@step("fail")
def fail(work: Workspace) -> ChangesRecord:
    """Raise the error of a full disk."""
    raise OSError(28, "No space left on device", str(work.root / "x"))


@step("exhaust {kind}")
def exhaust(kind: str, work: Workspace) -> ChangesRecord:
    """Request more memory than available, or an operation that TensorFlow rejects."""
    import tensorflow as tf

    if kind == "memory":
        raise MemoryError
    if kind == "tensor":
        tf.zeros((1 << 21, 1 << 21))
    tf.reshape(tf.zeros(3), (2, 2))
    raise AssertionError(kind)


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    CALLS.clear()
    return CALLS


def later(work: Workspace) -> Workspace:
    return work.model_copy(update={"run": "later"})


def test_the_same_inputs_are_computed_once(work: Workspace, calls: list[str]) -> None:
    first = note.fn("a", work)
    again = note.fn("a", later(work), hint=" whatever")
    assert calls == ["a"]
    assert again == first
    assert again.origin is not None
    assert (again.origin.run, again.origin.step) == ("this-run", "note-a")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("memory", "exhaust memory: not enough memory: MemoryError; use smaller layers"),
        ("tensor", "exhaust tensor: not enough memory: .*OOM when allocating.*; use smaller layers or a smaller batch"),
        (
            "operation",
            "exhaust operation: TensorFlow rejected an operation: .*; change the recipe's layers or function",
        ),
    ],
)
def test_out_of_memory_and_rejected_operations_are_reported_in_one_line(work: Workspace, kind: str, says: str) -> None:
    with pytest.raises(WorkerError, match=says):
        exhaust.fn(kind, work)


def test_other_inputs_are_computed(work: Workspace, calls: list[str]) -> None:
    note.fn("a", work)
    note.fn("b", work)
    assert calls == ["a", "b"]


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"b"), lambda path: path.write_bytes(b"")])
def test_a_record_whose_file_is_gone_or_altered_is_computed_again(work: Workspace, calls: list[str], harm) -> None:  # noqa: ANN001
    path = work.root / note.fn("a", work).file.path
    harm(path)
    note.fn("a", later(work))
    assert calls == ["a", "a"]
    assert path.read_bytes() == b"a"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": 1, "record": {}}'])
@pytest.mark.parametrize("sealing", [bytes, add_checksum])
def test_a_broken_record_is_computed_again(
    work: Workspace, calls: list[str], content: str, sealing: Callable[[bytes], bytes]
) -> None:
    note.fn("a", work)
    (path,) = (work.root / "records").iterdir()
    path.write_bytes(sealing(content.encode()))
    again = note.fn("a", later(work))
    assert calls == ["a", "a"]
    assert "its record" in why(again)


def why(record: Record) -> str:
    assert record.origin is not None
    return record.origin.why


def test_a_step_says_why_it_was_computed(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = note.fn("a", work)
    assert why(first) == "for the first time"
    (work.root / first.file.path).unlink()
    assert "No such file" in why(note.fn("a", later(work)))
    (work.root / first.file.path).write_bytes(b"b")
    assert "was altered" in why(note.fn("a", later(work)))
    monkeypatch.setattr(cache, "code_digests", lambda module: {module: "old", "tasks.storage.content_files": "new"})
    assert why(note.fn("a", later(work))).startswith(
        "code: tests.unit.engine.test_cached_task, tasks.storage.content_files"
    )
    monkeypatch.setattr(cache, "versions", lambda _libraries: {"numpy": "0.1"})
    assert why(note.fn("a", later(work))) == f"library numpy: {metadata.version('numpy')} -> 0.1"


def test_the_input_that_changed_is_named(work: Workspace) -> None:
    pair.fn([note.fn("a", work), note.fn("b", work)], {"seed": 1, "deep": [1, {"x": 2}]}, work)
    again = pair.fn([note.fn("a", work), note.fn("c", work)], {"seed": 2, "deep": [1, {"x": 3}]}, work)
    assert why(again) == "changed files: notes; input settings.seed: 1 -> 2; input settings.deep.1.x: 2 -> 3"


def test_runs_that_need_the_same_make_it_once(work: Workspace, calls: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(lambda number: slow.fn(work.model_copy(update={"run": f"run-{number}"})), range(8)))
    assert calls == ["slow"]
    assert len(set(records)) == 1


def test_other_code_or_another_version_of_a_library_is_computed_again(
    work: Workspace, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    note.fn("a", work)
    monkeypatch.setattr(cache, "code_digests", lambda _module: {"tasks.x": "other"})
    note.fn("a", later(work))
    monkeypatch.setattr(cache, "versions", lambda _libraries: {"numpy": "0.1"})
    note.fn("a", later(work))
    assert calls == ["a", "a", "a"]


def test_a_system_error_names_its_reason(work: Workspace) -> None:
    with pytest.raises(StorageError, match="No space left on device"):
        fail.fn(work)


def test_a_record_is_identified_by_its_files(work: Workspace) -> None:
    record = note.fn("a", work)
    assert identity(record) == identity(record.model_copy(update={"models": ("x",)}))
    assert identity(Record()) == {}


@pytest.mark.usefixtures("prefect")
def test_a_step_that_hangs_is_ended(work: Workspace) -> None:
    @flow
    def hanging() -> None:
        stall.submit(work).result()

    with pytest.raises(TimeoutError, match="timed out"):
        hanging()


def test_every_step_has_a_limit_and_only_the_network_is_tried_again() -> None:
    modules = [importlib.import_module(one.name) for one in pkgutil.walk_packages(tasks.__path__, "tasks.")]
    steps = {value for module in modules for value in vars(module).values() if isinstance(value, Task)}
    assert len(steps) > 20
    assert [one.name for one in steps if not one.timeout_seconds] == []
    assert [one.name for one in steps if one.retries] == ["download"]


def test_a_variable_that_may_change_the_result_is_named_with_it_and_as_the_reason(
    work: Workspace, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    first = note.fn("a", work)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    other = note.fn("a", work)
    assert first.origin is not None
    assert other.origin is not None
    assert (first.origin.environment, other.origin.environment) == ((), ("OPENBLAS_CORETYPE=Haswell",))
    assert other.origin.machine == f"{processor()}, OPENBLAS_CORETYPE=Haswell"
    assert why(other) == "variable OPENBLAS_CORETYPE: none -> Haswell"
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    assert note.fn("a", later(work)) == first
    assert calls == ["a", "a"]
