"""Test the checks of `mnist doctor`, and that a fault of one part hides no other part."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli import diagnosis
from flows.cli.diagnosis import diagnose, environment_fault, root_note, space_fault, versions_fault
from flows.cli.run import cli
from flows.processes.bounded import within
from tasks.errors import DiagnosisError, ServerError
from tasks.schemas.diagnosis import Disk, PrefectState, RootUsage

CANARY = "canary-7f3a9b2c"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "prefect_state", lambda tell: tell(PrefectState(home="/")))


def doctor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, arguments)])


def check_of(done: Result, name: str) -> dict[str, Any]:
    (found,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == name]
    return dict(found)


def test_an_installation_without_faults_is_healthy(tmp_path: Path) -> None:
    done = doctor("--root", tmp_path / "root", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["healthy"] is True
    assert found["root"] == str(tmp_path / "root")
    assert found["settings"]["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert found["onednn"] == "on"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_failed_check_is_reported_with_all_facts(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    done = doctor("--root", tmp_path, *options)
    assert isinstance(done.exception, DiagnosisError)
    assert done.exception.exit_code == 1
    assert str(done.exception).startswith("failed checks: root;")
    assert "is not a root of mnist" in done.stdout
    assert "tensorflow" in done.stdout


def test_an_address_that_is_no_root_is_a_failed_check_and_its_password_is_masked() -> None:
    done = doctor("--root", f"ftp://user:{CANARY}@host/", "--json")
    assert check_of(done, "root")["found"].startswith("can't use the root ftp://***@host/")
    assert CANARY not in done.output


def test_no_secret_of_the_environment_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    monkeypatch.setenv("MNIST_SET_ASIDE", f"SSL_CERT_FILE=/{CANARY}: no such file\nHTTP_PROXY is not a proxy")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", f"https://user:{CANARY}x@host")
    for options in ([], ["--json"]):
        done = doctor("--root", tmp_path / CANARY, *options)
        assert "SSL_CERT_FILE" in done.stdout
        assert "ONEDNN_MAX_CPU_ISA" in done.stdout
        assert CANARY not in done.output


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ServerError("no server answers; start it"), "no server answers; start it"),
        (FileNotFoundError(2, "No such file"), "the current folder was removed; change to another folder"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (ImportError("No module named 'prefect'"), "ImportError: No module named 'prefect'"),
    ],
)
def test_any_fault_of_a_part_is_a_failed_check(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(diagnosis, "prefect_state", raising(error))
    monkeypatch.setattr(diagnosis, "usage_of", raising(error))
    failed = {check.name: check.found for check in diagnose(str(tmp_path)).failed}
    assert failed == {"root": line, "Prefect": line}


def test_what_was_known_before_a_fault_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def state(tell: Callable[[PrefectState], None]) -> None:
        tell(PrefectState(home="/home", server="http://host/api"))
        raise ServerError("unreachable")

    monkeypatch.setattr(diagnosis, "prefect_state", state)
    assert diagnose(str(tmp_path)).prefect == PrefectState(home="/home", server="http://host/api")


def test_a_part_that_never_answers_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(diagnosis, "_SECONDS", 0.2)
    over = threading.Event()
    monkeypatch.setattr(diagnosis, "usage_of", lambda _root: over.wait(60))
    began = time.monotonic()
    (failed,) = diagnose(str(tmp_path)).failed
    over.set()
    assert failed.name == "root"
    assert failed.found.startswith("no answer within")
    assert time.monotonic() - began < 60


def test_a_bounded_call_returns_its_result_or_raises_its_error() -> None:
    assert within(10, lambda: 3) == 3
    with pytest.raises(ServerError, match="why"):
        within(10, raising(ServerError("why")))


def test_too_little_space_is_a_fault_that_names_the_folder() -> None:
    disks = [
        Disk(use="root", folder="/a", free=10**8, size=10**12),
        Disk(use="temporary files", folder="/b", free=10**9, size=10**9),
    ]
    assert space_fault(disks).startswith("0.1 GB are free for root at /a, less than 1.0 GB; make room")
    assert space_fault(disks[1:]) == ""


def test_unusable_variables_and_versions_come_with_a_remedy() -> None:
    assert environment_fault("") == ""
    assert environment_fault("A is bad\nB is bad") == "A is bad; B is bad; correct the variable, or unset it"
    assert versions_fault([]) == ""
    assert versions_fault(["click is not installed"]).endswith(
        "; install the versions of requirements.lock, as `make setup` does"
    )


def test_an_interrupted_run_is_noted_unless_a_run_is_active() -> None:
    assert "the next run continues" in root_note(RootUsage(unfinished=1, in_use=False))
    assert root_note(RootUsage(unfinished=1, in_use=True)) == "can be used; a run is active"


def test_a_root_that_can_be_read_but_not_written_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    found = diagnose(str(tmp_path / "new"))
    (check,) = [check for check in found.checks if check.name == "root"]
    assert "Permission denied" in check.found
