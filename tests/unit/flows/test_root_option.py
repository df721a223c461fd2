"""Test how the root is chosen, and that a search under it says where it looked."""

import os
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli.run import cli
from flows.root_option import RootChoice, choose_root, require_usable_root
from tasks.errors import InputError, NothingFoundError, StorageError
from tasks.storage.root_marker import mark_root
from tasks.storage.roots import validate_root
from tests.unit.storage.test_roots import FIXTURE

FOUND = "found from the current folder"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty current folder, without MNIST_ROOT and without a configuration."""
    monkeypatch.delenv("MNIST_ROOT", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "project" / "notes"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def configure(tmp_path: Path, root: str) -> Path:
    """Write a configuration that names a root, and return its path."""
    file = tmp_path / "config" / "mnist" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'root = "{root}"\n')
    return file


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_the_option_precedes_the_variable_the_folder_and_the_configuration(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_root(None) == RootChoice("data", "by default")
    file = configure(tmp_path, "/configured")
    assert choose_root(None) == RootChoice("/configured", f"given by {file}")
    validate_root(here / "data")
    assert choose_root(None) == RootChoice(str(here / "data"), FOUND)
    monkeypatch.setenv("MNIST_ROOT", "/variable")
    assert choose_root(None) == RootChoice("/variable", "given by MNIST_ROOT")
    assert choose_root("option") == RootChoice("option", "given by --root")


@pytest.mark.parametrize("place", [".", "..", "../data"])
def test_the_current_folder_and_those_above_are_searched(here: Path, place: str) -> None:
    root = (here / place).resolve()
    mark_root(root)
    assert choose_root(None) == RootChoice(str(root), FOUND)


def test_the_nearest_root_is_found(here: Path) -> None:
    validate_root(here.parent / "data")
    validate_root(here / "data")
    assert choose_root(None).place == str(here / "data")


def test_a_root_of_an_earlier_version_is_found_although_it_has_no_mark(here: Path) -> None:
    validate_root(here.parent / "data")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(here, filter="data")
    (here / "root").rename(here / "data")
    assert choose_root(None).place == str(here / "data")


@pytest.mark.parametrize("mark", ["missing", "folder", "link"])
def test_a_folder_of_others_is_never_a_root(here: Path, mark: str) -> None:
    (here.parent / "data").mkdir()
    (here.parent / "data" / "thesis.txt").touch()
    if mark == "folder":
        (here.parent / "data" / ".mnist-root").mkdir()
    if mark == "link":
        (here.parent / "data" / ".mnist-root").symlink_to(validate_root(here.parent / "other") / ".mnist-root")
    assert choose_root(None).source == "by default"


def test_a_root_above_that_another_account_can_write_is_passed_over(here: Path) -> None:
    validate_root(here.parent / "data").chmod(0o777)
    assert choose_root(None).source == "by default"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_a_root_above_of_another_account_is_passed_over(here: Path) -> None:
    os.chown(validate_root(here.parent / "data"), 65534, -1)
    assert choose_root(None).source == "by default"


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_unset(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_ROOT", empty)
    assert choose_root(None).source == "by default"


@pytest.mark.parametrize("command", ["run", "study", "runs", "verify", "champion", "prune --keep 1", "compare last 1"])
def test_an_empty_option_is_refused_by_every_command(here: Path, command: str) -> None:
    done = invoke(*command.split(), "--root", "")
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "the --root is empty: give a folder or s3://BUCKET/PREFIX, or omit the option"
    assert not list(here.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no /proc")
def test_a_root_in_a_file_system_of_the_kernel_is_refused_at_once() -> None:
    with pytest.raises(StorageError, match="can't write under the root /proc/xx: /proc holds no files of users; "):
        require_usable_root("/proc/xx")
    require_usable_root(f"/proc/self/cwd/{'new'}")  # a link to a folder in which files can be created


def test_a_list_that_is_empty_says_where_it_looked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("runs").stdout == f"no finished runs under {here / 'data'} (root by default)\n"
    monkeypatch.setenv("MNIST_ROOT", str(here / "new"))
    assert invoke("champion").stdout == f"no champion yet under {here / 'new'} (root given by MNIST_ROOT)\n"
    assert not list(here.iterdir())


@pytest.mark.parametrize("command", ["compare x y", "predict --run x picture.png", "verify x", "champion rollback"])
def test_a_search_without_result_says_where_it_looked(here: Path, command: str) -> None:
    validate_root(here.parent / "data")
    done = invoke(*command.split())
    assert isinstance(done.exception, NothingFoundError)
    assert f" under {here.parent / 'data'}" in str(done.exception)
    assert str(done.exception).endswith(f" (root {FOUND})")


@pytest.mark.parametrize(
    "command", ["compare x y", "predict picture.png", "prune --keep 1", "prune --dry-run --keep 1"]
)
def test_a_missing_root_is_named_with_its_origin(tmp_path: Path, command: str) -> None:
    file = configure(tmp_path, str(tmp_path / "none"))
    done = invoke(*command.split())
    assert str(done.exception) == (
        f"there are no runs under {tmp_path / 'none'}: give the --root, or MNIST_ROOT, of the runs (root given by {file})"
    )
