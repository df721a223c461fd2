"""Test the screen of `mnist doctor`."""

import pytest

from artifacts.diagnosis import facts, show_diagnosis
from tasks.schemas.diagnosis import Diagnosis, Disk, HealthCheck, Machine, PrefectState, RootUsage

FOUND = Diagnosis(
    mnist="0.1.0",
    python="3.12.1",
    executable="/venv/bin/python",
    libraries={"anyio": "4.0", "tensorflow-cpu": "2.21.0", "prefect": "3.9.1"},
    machine=Machine(
        system="Linux x86_64", processor="CPU (avx2)", cores=8, usable_cores=2, memory=8 * 10**9, available_memory=10**9
    ),
    settings={"TF_ENABLE_ONEDNN_OPTS": "0"},
    onednn="off",
    ignored=("TF_XLA_FLAGS",),
    disks=(Disk(use="root", folder="/data", free=10**10, size=10**11),),
    root="/data",
    root_source="given by --root",
    usage=RootUsage(folders={f"folder{one}": 10**6 for one in range(7)}),
    prefect=PrefectState(home="/home/me/.prefect", server="https://***@host/api", reachable=True, version="3.9.1"),
    checks=(
        HealthCheck(name="root", passed=False, found="can't be written; give another --root"),
        HealthCheck(name="versions", passed=True, found="as required"),
    ),
)


def test_each_fact_has_a_line() -> None:
    shown = dict(facts(FOUND))
    assert shown["libraries"] == "tensorflow-cpu 2.21.0, prefect 3.9.1"
    assert shown["cores"] == "8, of which 2 can be used"
    assert shown["oneDNN"] == "off, TF_ENABLE_ONEDNN_OPTS=0"
    assert shown["ignored"] == "TF_XLA_FLAGS: could change results, or stop a library"
    assert shown["files"].startswith("7.0 MB: folder0 1.0 MB")
    assert shown["files"].endswith(", ...")
    assert shown["free"] == "10.0 GB of 100.0 GB for root: /data"
    assert shown["Prefect"] == "https://***@host/api, version 3.9.1, reachable"


def test_without_a_server_a_temporary_server_and_the_history_are_named() -> None:
    state = PrefectState(home="/h", database="/h/prefect.db", history=3 * 10**6)
    shown = dict(facts(FOUND.model_copy(update={"prefect": state})))
    assert shown["Prefect"] == "a temporary server for each run"
    assert shown["history"] == "3.0 MB: /h/prefect.db"


def test_the_checks_follow_the_facts_without_trailing_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnosis(FOUND)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "FAILED     root: can't be written; give another --root",
        "ok         versions: as required",
    ]
    assert all(line == line.rstrip() for line in lines)
