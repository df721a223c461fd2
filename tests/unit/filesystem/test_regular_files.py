import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.dataset import load_dataset
from tasks.config.network_function import code_of, file_of
from tasks.config.recipe import load_recipe
from tasks.errors import DatasetError, InputError, RecipeError
from tasks.filesystem.hashing import sha256_of
from tasks.filesystem.regular_files import MAX_TEXT, open_regular, read_regular
from tasks.storage.backend import open_root
from tasks.storage.storage import storage_of


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_regular(path, 3) == b"abc"
    with pytest.raises(OSError, match="more than 2 bytes"):
        read_regular(path, 2)


def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(10 << 30)
    with pytest.raises(OSError, match="more than 4 MiB"):
        read_regular(path, MAX_TEXT)


@pytest.mark.skipif(not Path("/proc/kmsg").exists(), reason="Linux has files that claim to be empty, and never end")
def test_a_file_that_claims_to_be_empty_is_read_no_further_than_the_limit() -> None:
    path = Path("/proc/self/environ")
    assert path.stat().st_size == 0
    with pytest.raises(OSError, match="more than 1 bytes"):
        read_regular(path, 1)


@pytest.fixture(params=["pipe", "device", "folder"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


def test_nothing_else_is_opened_wherever_a_file_is_named(endless: Path) -> None:
    for opened in (open_regular, sha256_of, lambda path: storage_of(path).read_whole()):
        with pytest.raises(OSError, match="not a regular file"):
            opened(endless)
    with pytest.raises(DatasetError, match="not a regular file"):
        load_dataset(str(endless))
    with pytest.raises(RecipeError, match="not a regular file"):
        load_recipe(str(endless))
    with pytest.raises(RecipeError, match="not a regular file"):
        code_of("own.py:network", endless)


@pytest.mark.parametrize("path", ["~nobody-such/x.toml", "~/x.toml"])
def test_a_tilde_without_a_home_directory_is_reported_with_the_path(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_uid: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")  # a container's user may have neither this variable nor a name
    monkeypatch.setattr("pwd.getpwuid", unknown)
    uses: dict[str, tuple[type[InputError], Callable[[], object]]] = {
        f"root {path}": (InputError, lambda: open_root(path)),
        f"dataset {path}": (DatasetError, lambda: load_dataset(path)),
        f"recipe {path}": (RecipeError, lambda: load_recipe(path)),
        f"function's file {path}.py": (RecipeError, lambda: file_of(f"{path}.py:made", tmp_path)),
    }
    for named, (refusal, use) in uses.items():
        with pytest.raises(
            refusal, match=rf"can't use the {named}: no home directory is known for ~\S*; write"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)
