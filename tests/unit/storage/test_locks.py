import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.errors import StorageError
from tasks.storage.locks import try_exclusive_lock
from tasks.storage.storage import storage_of

HOLD = """
import sys, time
from pathlib import Path
from tasks.storage.storage import storage_of
with storage_of(Path(sys.argv[1])).key_lock("key", "run early", print):
    print("held", flush=True)
    time.sleep(60)
"""


def nothing(line: str, level: int) -> None:
    pytest.fail(f"it waited: {line}, {level}")


@pytest.fixture
def lines() -> list[str]:
    return []


def holder_of(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, root], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    with holder_of(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / "locks/key.lock").read_text() == "run early"
    with storage_of(tmp_path).key_lock("key", "run late", nothing):
        assert (tmp_path / "locks/key.lock").read_text() == "run late"


def test_a_live_process_is_waited_for_with_a_line_that_names_it(tmp_path: Path, lines: list[str]) -> None:
    with holder_of(tmp_path) as process:
        threading.Timer(2, process.kill).start()
        began = time.monotonic()
        with storage_of(tmp_path).key_lock(
            "key", "run late", lambda line, level: lines.append(f"{logging.getLevelName(level)} {line}")
        ):
            assert time.monotonic() - began > 1
    assert lines == [f"WARNING waiting for run early: {tmp_path}/locks/key.lock is locked"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems limit the size of files")
def test_a_lock_file_that_a_full_disk_cannot_hold_is_reported_in_one_line(tmp_path: Path) -> None:
    code = (
        "import portalocker, resource, sys; from pathlib import Path; from tasks.storage.storage import storage_of\n"
        "from tasks.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    with storage_of(Path(sys.argv[1])).key_lock('key', 'run early', print): pass\n"
        "except StorageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == f"can't write {tmp_path}/locks/key.lock: File too large; give another --root\n"


def test_other_keys_are_not_waited_for(tmp_path: Path) -> None:
    with storage_of(tmp_path).key_lock("one", "a", nothing), storage_of(tmp_path).key_lock("other", "b", nothing):
        pass


def test_a_root_is_shared_by_many_or_had_alone(tmp_path: Path, lines: list[str]) -> None:
    with (
        storage_of(tmp_path).shared_lock(nothing),
        storage_of(tmp_path).shared_lock(nothing),
        try_exclusive_lock(tmp_path) as nobody_else,
    ):
        assert not nobody_else
    with try_exclusive_lock(tmp_path) as nobody_else:
        assert nobody_else
    with storage_of(tmp_path).shared_lock(nothing):
        entered = threading.Event()

        def prune() -> None:
            with storage_of(tmp_path).exclusive_lock("mnist prune", lambda line, _level: lines.append(line)):
                entered.set()

        thread = threading.Thread(target=prune)
        thread.start()
        assert not entered.wait(1.5)
    assert entered.wait(5)
    thread.join()
    assert lines == [f"waiting for the active runs: {tmp_path}/locks/root.lock is locked"]


def test_a_root_that_cannot_be_locked_is_reported(tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"")
    with pytest.raises(StorageError, match="locks"), storage_of(tmp_path).shared_lock(nothing):
        pass
