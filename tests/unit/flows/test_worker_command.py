"""Test the options of `mnist worker`, and how a signal ends it, without a server."""

import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from prefect.settings import PREFECT_API_URL, PREFECT_WORKER_WEBSERVER_HOST, get_current_settings, temporary_settings

from flows.cli.run import cli
from flows.server import process_worker

# A worker whose end waits for a server, with one run that reports the signal that it gets.
STUCK = """
import asyncio, subprocess, sys
from flows.processes import stop
from flows.server.process_worker import MnistWorker, run_until_signal
stop.listen()
stop.ENDING.seconds = 0.5
class Stuck(MnistWorker):
    async def start(self, **_):
        try:
            if sys.argv[1:]:
                subprocess.Popen([sys.executable, "-c", sys.argv[1]])
            else:
                print("ready", flush=True)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)
asyncio.run(run_until_signal(Stuck("mnist"), with_healthcheck=False, say=print))
"""
RUN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("told", flush=True)))
print("ready", flush=True)
time.sleep(60)
"""


def ended(number: int, *arguments: str) -> tuple[int, str, str, float]:
    """Send a signal to a worker; return its exit code, its output, its messages, and the seconds until its end."""
    command = [sys.executable, "-c", STUCK, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.send_signal(number)
        time.sleep(0.3)
        if arguments:
            process.send_signal(number)  # the second one does not wait for the server
        output, said = process.communicate(timeout=30)
        return process.returncode, output, said, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_without_runs_does_not_wait_for_a_server_that_says_nothing(number: int) -> None:
    code, output, said, seconds = ended(number)
    assert (code, output, said) == (128 + number, "", "mnist: stopped\n")
    assert seconds < 5


def test_a_hangup_ends_a_worker_and_its_run_and_a_second_one_does_so_at_once() -> None:
    code, output, said, seconds = ended(signal.SIGHUP, RUN)
    assert (code, output, said) == (128 + signal.SIGHUP, "told\n", "mnist: stopped\n")
    assert seconds < 5


def test_the_limit_of_a_worker_with_runs_lets_them_report_their_end() -> None:
    assert process_worker._END_SECONDS < process_worker._SECONDS_WITH_RUNS < 15 - 2  # 2 s to end what is left


@pytest.mark.parametrize("option", ["--name", "--pool", "--work-queue"])
@pytest.mark.parametrize("name", ["a/b", "a%b", "a&b", "a<b", "a\nb", ""])
def test_a_name_that_prefect_rejects_is_refused_in_one_line(option: str, name: str) -> None:
    done = CliRunner().invoke(cli, ["worker", option, name], standalone_mode=False)
    assert f"{option} must have printable characters, except / % & < >, got {name!r}" in str(done.exception)


@pytest.mark.parametrize(("given", "host"), [(None, "127.0.0.1"), ("::1", "::1")])
def test_the_health_check_listens_on_loopback_by_default(
    given: str | None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    async def run_until_signal(*_: object, **__: object) -> None:
        found.append(get_current_settings().worker.webserver.host)

    monkeypatch.setattr(process_worker, "run_until_signal", run_until_signal)
    monkeypatch.setattr("flows.server.local_server.check_server", lambda _url: None)
    monkeypatch.setattr("flows.server.configured_server.require_any_server", lambda: None)
    settings = {PREFECT_API_URL: "http://127.0.0.1:9/api"} | ({PREFECT_WORKER_WEBSERVER_HOST: given} if given else {})
    with temporary_settings(settings):
        done = CliRunner(catch_exceptions=False).invoke(cli, ["worker", "--with-healthcheck"], standalone_mode=False)
    assert found == [host], done.output
