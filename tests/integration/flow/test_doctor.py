"""Test `mnist doctor` in a process of its own: it writes nothing, imports no TensorFlow, and prints no secret."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import without_prefect

CANARY = "canary-7f3a9b2c"
# The command, and then the names of all imported modules.
WITH_MODULES = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from flows.cli.app import main
main(["doctor", *sys.argv[1:]])
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of an account that has not used Prefect, and make it the current folder."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PREFECT_HOME")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def doctor(*arguments: str, **env: str) -> tuple[int, dict[str, Any], str]:
    """Return the exit code, the document and all the output of the command."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITH_MODULES, "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=without_prefect(os.environ) | env,
    )
    return done.returncode, json.loads(done.stdout), done.stdout + done.stderr


def failed(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["found"] for check in found["checks"] if not check["passed"]}


def test_nothing_is_written_and_tensorflow_is_not_imported(home: Path) -> None:
    code, found, output = doctor()
    assert failed(found) == {}
    assert code == 0
    assert {"tensorflow", "tensorflow-cpu"} & found["libraries"].keys()
    assert list(home.iterdir()) == []
    modules = json.loads(output.splitlines()[-1])
    assert "prefect" in modules
    assert not {"tensorflow", "keras"} & set(modules)


@pytest.mark.skipif(os.name != "posix", reason="the terminal is one of POSIX")
def test_nothing_is_written_from_a_terminal_either(home: Path) -> None:
    import pty  # Prefect's telemetry writes notes only from a terminal

    ours, theirs = pty.openpty()
    env = {name: value for name, value in without_prefect(os.environ).items() if name not in {"CI", "DO_NOT_TRACK"}}
    command = [sys.executable, "-P", "-m", "flows.cli.app", "doctor"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        output = b""
        while chunk := _read(ours):
            output += chunk
    os.close(ours)
    assert process.returncode == 0, output
    assert b"a temporary server for each run" in output
    assert b"anonymous usage data" not in output
    assert list(home.iterdir()) == []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the process has ended
        return b""


def test_the_secrets_of_a_profile_are_not_printed(home: Path) -> None:
    settings = home / ".prefect"
    settings.mkdir(mode=0o700)
    (settings / "profiles.toml").write_text(
        f"""active = "mine"
[profiles.mine]
PREFECT_API_URL = "http://user:{CANARY}-1@127.0.0.1:9/api"
PREFECT_API_AUTH_STRING = "admin:{CANARY}-2"
PREFECT_API_KEY = "{CANARY}-3"
"""
    )
    (settings / "profiles.toml").chmod(0o600)
    code, found, output = doctor("--root", f"s3://{CANARY}:{CANARY}@bucket/x", MY_PASSWORD=CANARY)
    assert code == 1
    assert found["prefect"]["server"] == "http://***@127.0.0.1:9/api"
    assert found["prefect"]["reachable"] is False
    assert set(failed(found)) == {"root", "Prefect"}
    assert CANARY not in output


@pytest.mark.parametrize(
    ("env", "check"),
    [
        ({"HOME": "~nobody-such"}, "has no home directory"),
        ({"HOME": "/dev/null"}, "can't create Prefect's home"),
        ({"PREFECT_API_REQUEST_TIMEOUT": CANARY}, "PREFECT_API_REQUEST_TIMEOUT"),
    ],
)
def test_unusable_settings_of_prefect_are_a_failed_check(home: Path, env: dict[str, str], check: str) -> None:
    code, found, output = doctor(**env)
    assert code == 1
    assert check in failed(found)["Prefect"]
    assert "Traceback" not in output
    assert CANARY not in output


def test_unusable_and_ignored_variables_are_named_without_values(home: Path) -> None:
    code, found, output = doctor(HTTPS_PROXY=f"http://me:{CANARY}/x@host", TF_XLA_FLAGS=CANARY)
    assert code == 1
    assert "HTTPS_PROXY is not a proxy URL" in failed(found)["environment"]
    assert "TF_XLA_FLAGS" in found["ignored"]
    assert CANARY not in output


@pytest.mark.usefixtures("prefect")
def test_a_server_that_answers_is_reported_with_its_version() -> None:
    from prefect import __version__
    from prefect.settings import PREFECT_API_URL

    code, found, _ = doctor(PREFECT_API_URL=PREFECT_API_URL.value())
    assert failed(found) == {}
    assert code == 0
    assert found["prefect"]["reachable"] is True
    assert found["prefect"]["version"] == __version__
