"""Test how a command ends: after a signal at any time, and with standard streams that are closed or full."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import portalocker
import psutil
import pytest

from tasks.history.flow_runs import add_pending_flow_runs, pending_flow_runs
from tasks.schemas.runs import FlowRun
from tasks.storage.roots import validate_root
from tests.reliability.signals import Ended, Trial, faults, listens, signaled, silent
from tests.support import data
from tests.support.serving import MNIST, without_prefect

pytestmark = pytest.mark.usefixtures("all_cores")

LINE = "mnist: interrupted; run the same command to continue"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return without_prefect(os.environ) | {"PREFECT_HOME": str(tmp_path / "home"), "MNIST_TRIAL": str(tmp_path)}


def ended(trial: Trial, env: dict[str, str], after: float, number: int, again: float | None = None) -> Ended:
    """Send a signal to a command, check that nothing is wrong with its end, and return its outcome."""
    found = signaled(trial, env | trial.env, after, number, again)
    assert found.reached
    assert list(faults(trial, found, number, again, env["MNIST_TRIAL"])) == []
    return found


def own(tmp_path: Path, **changes: object) -> str:
    return str(data.make(tmp_path / "mirror", data.FEW).toml(**changes))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_imports_ends_the_command(number: int, env: dict[str, str], tmp_path: Path) -> None:
    found = ended(Trial(["run", "--root", str(tmp_path / "root")]), env, 0, number)
    assert (found.code, found.said) == (128 + number, f"{LINE}\n")


def test_an_interruption_before_the_command_listens_leaves_no_traceback(env: dict[str, str]) -> None:
    code = "import sys; sys.argv[0] = '/bin/mnist'; import flows, os, signal; os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_worker_leaves_the_last_line_to_the_command_that_it_is_tied_to(env: dict[str, str]) -> None:
    with silent() as nobody:
        command = [sys.executable, "-P", "-m", "flows.processes.tied_to_parent", "flows.cli.app", "worker"]
        with subprocess.Popen(
            command, env=env | {"PREFECT_API_URL": f"{nobody}/api"}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:  # fmt: skip
            while process.poll() is None and not listens(process.pid):
                time.sleep(0.01)
            assert process.communicate(timeout=30)[1] == ""  # `communicate` closes its standard input
    assert process.returncode == 143


@pytest.mark.parametrize("again", [None, 0.3])
def test_a_server_that_says_nothing_does_not_hold_a_run(
    again: float | None, env: dict[str, str], tmp_path: Path
) -> None:
    with silent() as nobody:
        trial = Trial(["run", "--root", str(tmp_path / "root")], {"PREFECT_API_URL": f"{nobody}/api"}, ends=False)
        assert ended(trial, env, 6, signal.SIGTERM, again).code == 143


def test_a_server_that_says_nothing_does_not_hold_a_prune(env: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "root"
    validate_root(root)
    add_pending_flow_runs(
        root, {FlowRun(id=UUID(int=1), flow=UUID(int=2), at="http://prefect.example/api", root="/root")}
    )
    with silent() as nobody:
        trial = Trial(["prune", "--keep", "1", "--root", str(root)], {"PREFECT_API_URL": f"{nobody}/api"}, ends=False)
        assert ended(trial, env, 6, signal.SIGTERM).code == 143
    assert pending_flow_runs(root)


def test_a_mirror_that_says_nothing_does_not_hold_a_pin(env: dict[str, str], tmp_path: Path) -> None:
    path = Path(own(tmp_path))
    text = path.read_text()
    with silent() as nobody:
        lines = [line for line in text.splitlines() if not line.startswith(("bytes", "sha256"))]
        path.write_text("\n".join(lines).replace(path.parent.as_uri(), nobody))
        before = path.read_bytes()
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        ended(Trial(["dataset", "pin", str(path)], {"TMPDIR": str(temporary)}, ends=False), env, 3, signal.SIGTERM)
    assert path.read_bytes() == before
    assert list(temporary.iterdir()) == []


def test_a_locked_root_does_not_hold_a_prune(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "root" / "locks" / "root.lock"
    path.parent.mkdir(parents=True)
    with path.open("a+") as stream:
        portalocker.lock(stream, portalocker.LockFlags.SHARED)
        trial = Trial(["prune", "--keep", "1", "--root", str(tmp_path / "root")], ends=False)
        assert LINE in ended(trial, env, 2, signal.SIGINT).said


STUCK = """
import os, signal, subprocess, sys, threading
from flows.processes import stop
stop._SECONDS = stop.ENDING.seconds = 1.0
stop.listen()
ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", ignoring], start_new_session=True)
try:
    print("ready", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    signal.pthread_sigmask(signal.SIG_BLOCK, stop._SIGNALS)  # and from here on, deaf
    while True:
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
"""


def test_a_main_thread_that_hangs_is_ended_with_all_that_it_has_started() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (child,) = psutil.Process(process.pid).children()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert (process.returncode, said) == (143, f"{LINE}\n")
        assert time.monotonic() - began < 5
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_signals_that_were_ignored_stay_ignored(env: dict[str, str], tmp_path: Path) -> None:
    command = ["bash", "-c", 'trap "" HUP; echo ignored; exec "$@"', "bash", MNIST, "runs", "--root", str(tmp_path)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        assert process.wait(30) == 0


CLOSED = {
    "runs <&-": (0, ""),
    "runs >&-": (2, "mnist: can't write the result to standard output: Bad file descriptor\n"),
    "runs 2>&-": (0, ""),
    "runs <&- >&- 2>&-": (2, ""),
    "runs >/dev/full": (2, "mnist: can't write the result to standard output: No space left on device\n"),
    "runs --json >/dev/full": (2, "mnist: can't write the result to standard output: No space left on device\n"),
    "--help >/dev/full": (2, "mnist: can't write the result to standard output: No space left on device\n"),
    "nonsense 2>/dev/full": (2, ""),
    "nonsense 2>&-": (2, ""),
    "--help | head -c 0; exit ${PIPESTATUS[0]}": (141, ""),
    "runs --json | head -c 0; exit ${PIPESTATUS[0]}": (141, ""),
}


@pytest.mark.parametrize("rest", CLOSED)
def test_streams_that_are_closed_or_full_end_in_the_right_code(rest: str, env: dict[str, str], tmp_path: Path) -> None:
    command = f'"$MNIST" {rest}'
    done = subprocess.run(
        ["bash", "-c", command], env=env | {"MNIST": str(MNIST), "MNIST_ROOT": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == CLOSED[rest]


def test_closed_standard_streams_are_replaced_before_any_socket_is_opened(tmp_path: Path) -> None:
    code = (
        "from flows.processes import streams; streams.replace_closed_streams()\n"
        "import socket; print(socket.socket().fileno() > 2)"
    )
    command = ["bash", "-c", '"$0" -c "$1" <&- 2>&-', sys.executable, code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=Path(__file__).parents[3]
    )
    assert done.stdout == "True\n"
