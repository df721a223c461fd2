"""Test that only one process gets a name, with and without hard links."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.filesystem.exclusive_name import claim_name


@pytest.fixture(params=["with hard links", "without"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "without":
        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("links")
def test_exactly_one_of_many_claims_a_name_and_its_file_is_complete(tmp_path: Path) -> None:
    path, barrier = tmp_path / "000001.json", threading.Barrier(8)

    def one(number: int) -> int | None:
        written = tmp_path / f"written-{number}"
        written.write_bytes(bytes([number]) * 100_000)
        barrier.wait()
        try:
            claim_name(written, path, tmp_path / "lock")
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(one, range(8)) if number is not None]
    assert len(winners) == 1
    assert path.read_bytes() == bytes(winners) * 100_000


@pytest.mark.usefixtures("links")
def test_an_existing_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "written").write_text("new")
    (tmp_path / "taken").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        claim_name(tmp_path / "written", tmp_path / "taken", tmp_path / "lock")
    assert (tmp_path / "taken").is_symlink()
    assert (tmp_path / "written").read_text() == "new"


@pytest.mark.usefixtures("links")
def test_other_errors_of_the_system_are_raised(tmp_path: Path) -> None:
    (tmp_path / "written").write_text("new")
    with pytest.raises(FileNotFoundError):
        claim_name(tmp_path / "written", tmp_path / "no folder" / "name", tmp_path / "lock")
