"""Test how this machine and the versions of libraries are described."""

from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tasks.engine import machine
from tasks.engine.machine import disk_at, library_versions, requirement_fault, this_machine, version_faults


def installed(versions: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "installed_version", lambda name: versions.get(name, ""))


def test_the_installed_libraries_meet_the_requirements() -> None:
    assert list(version_faults()) == []
    assert {"click", "prefect", "numpy"} <= library_versions().keys()
    assert "pytest" not in library_versions()


@pytest.mark.parametrize(
    ("requirement", "versions", "fault"),
    [
        ("click<9,>=8.1", {"click": "8.0.4"}, "click 8.0.4 is not <9,>=8.1"),
        ("click<9,>=8.1", {"click": "8.3"}, ""),
        ("click<9,>=8.1", {}, "click is not installed"),
        ("tensorflow-cpu>=2.20", {"tensorflow": "2.21"}, ""),
        ("tensorflow-cpu>=2.20", {"tensorflow": "2.19"}, "tensorflow 2.19 is not >=2.20"),
        ("tensorflow>=2.20", {"tensorflow-cpu": "2.21"}, ""),
    ],
)
def test_a_version_that_differs_from_its_requirement_is_named(
    requirement: str, versions: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(versions, monkeypatch)
    assert requirement_fault(Requirement(requirement), optional=False) == fault


def test_an_optional_library_may_be_missing_but_not_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    installed({}, monkeypatch)
    assert requirement_fault(Requirement("s3fs>=2025.9"), optional=True) == ""
    installed({"s3fs": "2024.1"}, monkeypatch)
    assert requirement_fault(Requirement("s3fs>=2025.9"), optional=True) == "s3fs 2024.1 is not >=2025.9"


def test_source_that_is_not_installed_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    for name in ("version", "requires", "metadata"):
        monkeypatch.setattr(metadata, name, missing)
    assert "not installed" in "".join(version_faults())
    assert library_versions() == {}


def test_the_machine_has_cores_and_memory() -> None:
    found = this_machine()
    assert 1 <= found.usable_cores <= found.cores
    assert 0 < found.available_memory < found.memory


def test_the_free_space_of_a_missing_folder_is_that_of_the_folder_above(tmp_path: Path) -> None:
    assert disk_at("root", tmp_path / "a" / "b").size == disk_at("root", tmp_path).size
    assert not (tmp_path / "a").exists()
