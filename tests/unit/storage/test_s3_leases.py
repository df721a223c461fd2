"""Test locks in a real store: across threads and processes, and with a killed holder."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from s3fs import S3FileSystem
from upath import UPath

from tasks.errors import StorageError
from tasks.history.champions import append_entry, champion_history, lift_rollback, roll_back
from tasks.schemas.runs import Champion, rolled_back_models
from tasks.storage import locks, s3_leases
from tasks.storage.backend import open_root, read_object
from tasks.storage.folders import MARK
from tasks.storage.roots import validate_root
from tasks.storage.s3_leases import Lease, exclusive_lease, exclusive_when_idle, shared_lease
from tasks.storage.storage import storage_of
from tests.support.samples import FILE, FIRST, model, record_of
from tests.support.stores import BUCKET, store

SOON = 20.0  # seconds after which a thread that has not ended is considered hung


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with store(tmp_path_factory.mktemp("store")) as env, pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield
        S3FileSystem.clear_instance_cache()


@pytest.fixture
def root(bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UPath:
    monkeypatch.setattr(s3_leases, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(s3_leases, "RENEW_SECONDS", 0.5)
    monkeypatch.setattr(s3_leases, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.2)
    return open_root(f"s3://{BUCKET}/{tmp_path.name}")


class Said(list[str]):
    def __call__(self, line: str, _level: int) -> None:
        self.append(line)


def silent(_line: str, _level: int) -> None:
    pass


def in_thread(context) -> tuple[threading.Event, threading.Event, threading.Thread]:  # noqa: ANN001
    """Enter and leave a context in another thread; return an event for entered, an event to leave, and the thread."""
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with context:
            entered.set()
            leave.wait(SOON)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return entered, leave, thread


def test_a_lease_has_one_holder_at_a_time(root: UPath) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(4):
            with exclusive_lease(root / "lock", "one", silent):
                inside += 1
                most = max(most, inside)
                time.sleep(0.02)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON * 3)
    assert not [thread for thread in threads if thread.is_alive()]
    assert most == 1
    assert not (root / "lock").exists()


def test_a_holder_that_lives_is_waited_for_however_long_it_takes(root: UPath) -> None:
    said = Said()
    with exclusive_lease(root / "lock", "run one", silent):
        entered, leave, thread = in_thread(exclusive_lease(root / "lock", "run two", said))
        assert not entered.wait(3 * s3_leases.LEASE_SECONDS)
        assert said == [f"waiting for run one: {root / 'lock'} is held"]
    assert entered.wait(SOON)
    leave.set()
    thread.join(SOON)
    assert not (root / "lock").exists()


HOLDER = """
import sys, time
from tasks.storage import s3_leases
from tasks.storage.backend import open_root
s3_leases.RENEW_SECONDS = 0.5
with s3_leases.{how}:
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    "how", ["exclusive_lease(root / 'lock', 'it', print)", "shared_lease(root / 'here', root / 'lock', 'it', print)"]
)
def test_the_lease_of_a_process_that_is_killed_is_taken_over(root: UPath, how: str) -> None:
    code = HOLDER.format(how=how).replace("root /", f"open_root('{root}') /")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "in\n"
    entered, leave, thread = in_thread(exclusive_when_idle(root / "here", root / "lock", "prune", silent))
    assert not entered.wait(2 * s3_leases.LEASE_SECONDS)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert entered.wait(SOON)
    leave.set()
    thread.join(SOON)
    assert not list(root.glob("**/*"))


def test_an_object_that_is_no_lease_is_neither_taken_over_nor_removed(root: UPath) -> None:
    for name in ("lock", "here/thesis.txt", f"here/{'0' * 32}"):
        (root / name).write_bytes(b"mine")
    for body in (
        exclusive_lease(root / "lock", "it", silent),
        exclusive_when_idle(root / "here", root / "free", "prune", silent),
    ):
        with pytest.raises(StorageError, match="is not a lock, but another object: move it away"), body:
            pass
    assert {path.read_bytes() for path in (root / "lock", *(root / "here").glob("*"))} == {b"mine"}


def test_a_holder_whose_lease_was_taken_over_neither_renews_nor_removes_it(root: UPath) -> None:
    asleep, other = Lease(root / "lock", "asleep"), Lease(root / "lock", "other")
    assert asleep.take()
    asleep.over.set()  # it no longer renews, like a suspended process
    asleep.thread.join()
    assert not other.take()
    assert other.take(instead_of=asleep.version)
    assert not Lease(root / "lock", "third").take(instead_of=asleep.version)
    asleep.over.clear()
    asleep.thread = threading.Thread(target=asleep.renew, daemon=True)
    asleep.thread.start()
    time.sleep(3 * s3_leases.RENEW_SECONDS)
    asleep.release()
    assert b"other" in read_object(root / "lock")
    other.release()
    assert not (root / "lock").exists()


def test_a_shared_lease_that_the_store_refuses_is_requested_again(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    take, refusals = Lease.take, iter(["conflict", "conflict"])
    monkeypatch.setattr(Lease, "take", lambda lease: not next(refusals, "") and take(lease))
    with shared_lease(root / "here", root / "lock", "it", silent):
        (path,) = (root / "here").glob("*")
        before = read_object(path)
        time.sleep(2 * s3_leases.RENEW_SECONDS)
        assert read_object(path) != before, "the lease is not renewed"
    assert not list((root / "here").glob("*"))


class Unreachable:
    """An exclusive lease that cannot be requested because the store has become unreachable."""

    def exists(self) -> bool:
        raise TimeoutError("timed out")


def test_a_shared_lease_is_given_back_if_the_exclusive_one_cannot_be_checked(root: UPath) -> None:
    with (
        pytest.raises(StorageError, match="timed out; check the network"),
        shared_lease(root / "here", cast("UPath", Unreachable()), "it", silent),
    ):
        pass
    assert not list((root / "here").glob("*"))


def test_a_root_is_shared_by_many_and_had_alone_by_one(root: UPath) -> None:
    said = Said()
    with storage_of(root).shared_lock(silent), storage_of(root).shared_lock(silent):
        entered, leave, thread = in_thread(
            exclusive_when_idle(root / "locks" / "at-work", root / "locks" / "root.lock", "prune", said)
        )
        for _ in range(3):  # a process at work can continue and end
            with shared_lease(root / "locks" / "at-work", root / "locks" / "root.lock", "a step", silent):
                assert not entered.wait(0.3)
        assert said
    assert entered.wait(SOON)
    later, leave_later, other = in_thread(
        shared_lease(root / "locks" / "at-work", root / "locks" / "root.lock", "late", silent)
    )
    assert not later.wait(1)
    leave.set()
    assert later.wait(SOON)
    thread.join(SOON)
    leave_later.set()
    other.join(SOON)


def test_a_lease_folder_that_disappears_while_it_is_listed_has_no_live_lease(
    root: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: str, **_options: object) -> None:
        raise FileNotFoundError(path)  # the last lease was released between two responses of the store

    monkeypatch.setattr(root.fs, "find", gone)
    assert not s3_leases.has_live_lease(root, {})


def test_the_exclusive_lock_and_a_key_lock_are_released(root: UPath) -> None:
    with storage_of(root).exclusive_lock("mnist prune", silent), storage_of(root).key_lock("key", "run", silent):
        assert (root / "locks" / "key.lock").exists()
        assert b"mnist prune at " in read_object(root / "locks" / "root.lock")
    assert not list((root / "locks").glob("*"))


def test_a_store_without_conditions_is_refused(root: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validate_root(root) == root
    put = root.fs.pipe_file
    monkeypatch.setattr(root.fs, "pipe_file", lambda path, value, **_conditions: put(path, value))
    with pytest.raises(StorageError, match="its store does not support conditional writes"):
        validate_root(root)
    assert [path.name for path in root.glob("**/*")] == [MARK]


def test_a_store_that_is_gone_is_reported(root: UPath) -> None:
    nowhere = UPath(str(root), endpoint_url="http://127.0.0.1:9", skip_instance_cache=True,
                    config_kwargs={"retries": {"max_attempts": 0}})  # fmt: skip
    with (
        pytest.raises(StorageError, match=r"can't lock .*: Could not connect to the endpoint"),
        exclusive_lease(nowhere, "", silent),
    ):
        pass


def test_a_champion_is_rolled_back_and_lifted_in_a_store(root: UPath) -> None:
    validate_root(root)
    for number in (1, 2):
        own = {"file": FILE.model_copy(update={"sha256": f"{number}" * 64})}
        entry = Champion(
            number=number, at=datetime(2026, 1, number, tzinfo=UTC), action="promoted", dataset="drawn", run=f"run-{number}",
            model=model("plain").model_copy(update=own), predictions=record_of("plain", FIRST), rollback_to=number - 1 or None,
        )  # fmt: skip
        append_entry(entry, "line", root)
    with pytest.raises(FileExistsError):
        append_entry(entry, "line", root)
    assert roll_back(root, "line").run == "run-1"
    assert [one.run for one in rolled_back_models(champion_history(root, "line"))] == ["run-2"]
    assert [one.run for one in lift_rollback(root, "line")] == ["run-2"]
    assert rolled_back_models(champion_history(root, "line")) == []
