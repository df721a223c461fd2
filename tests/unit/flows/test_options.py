"""Options of the command: their earlier names, and the version of what `--json` prints."""

import errno
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.run import cli
from flows.root_option import root_with_pages
from tasks.errors import StorageError
from tasks.schema_version import SCHEMA_VERSION
from tasks.storage import page_records
from tasks.storage.backend import storage_errors
from tasks.storage.local_storage import LocalStorage
from tasks.storage.roots import validate_root
from tests.unit.storage.test_roots import FIXTURE


@pytest.mark.parametrize("option", ["--champion-line", "--line"])
def test_the_champion_line_has_its_earlier_name_too(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def run_flow(_name: str, parameters: dict[str, Any], _named: object, _console: object) -> None:
        given.update(parameters)
        raise RuntimeError

    monkeypatch.setattr("flows.cli.run._run_flow", run_flow)
    CliRunner().invoke(cli, ["run", option, "nightly"])
    assert given["line"] == "nightly"


@pytest.mark.parametrize("command", ["run", "study"])
def test_the_name_and_the_tags_of_a_run_go_to_prefect_without_secrets(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def run_flow(_name: str, *parts: Any) -> None:
        given.extend(parts)
        raise RuntimeError

    monkeypatch.setattr("flows.cli.run._run_flow", run_flow)
    address = "https://me:s3cret@host/x"
    named = ["--flow-run-name", f"Ä {address}", "--tag", " new data ", "--tag", address]
    CliRunner().invoke(cli, [command, *named])
    parameters, about, _console = given
    assert about == {"name": "a-https-host-x", "tags": ("new data", "https://***@host/x")}
    assert not {"flow_run_name", "tags"} & set(parameters)


def test_a_tag_that_begins_with_spaces_is_still_no_tag_of_a_parameter() -> None:
    done = CliRunner().invoke(cli, ["run", "--tag", " line:nightly"])
    assert "begins with line:" in str(done.exception)


def test_help_shows_only_the_present_name() -> None:
    text = CliRunner().invoke(cli, ["run", "--help"]).output
    assert "--champion-line NAME" in text
    assert "--line" not in text.replace("--champion-line", "")


@pytest.mark.parametrize("command", [["dataset", "list"], ["runs"], ["champion", "list"]])
def test_every_json_document_has_the_version_of_its_schema(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, [*command, "--json"], env={"MNIST_ROOT": str(tmp_path)})
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert next(iter(document)) == "schema_version"
    assert document["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("command", ["champion --root {}", "champion --root {} list", "champion list --root {}"])
def test_the_champions_of_a_root_are_listed_wherever_the_option_is(command: str, tmp_path: Path) -> None:
    words = command.format(tmp_path / "theirs").split()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").touch()
    done = CliRunner().invoke(cli, words, env={"MNIST_ROOT": str(tmp_path / "mine")})
    assert f"{tmp_path / 'theirs'} is not a root of mnist" in str(done.exception)


def test_a_rollback_is_done_under_the_root_before_the_subcommand(tmp_path: Path) -> None:
    words = ["champion", "--root", str(tmp_path / "named"), "rollback"]
    done = CliRunner().invoke(cli, words, env={"MNIST_ROOT": str(tmp_path / "mine")})
    assert f"there are no runs under {tmp_path / 'named'}:" in str(done.exception)


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "denied"), OSError(errno.EROFS, "Read-only file system")]
)
def test_runs_are_compared_without_a_page_under_a_root_that_cannot_be_written(
    tmp_path: Path, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: LocalStorage, _say: object) -> None:
        with storage_errors(self.path / "locks"):
            raise error

    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "root"
    before = sorted(root.rglob("*"))
    monkeypatch.setattr(LocalStorage, "shared_lock", refuse)
    names = sorted(path.name for path in (root / "runs").iterdir())[:2]
    done = CliRunner().invoke(cli, ["compare", *names, "--root", str(root), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["report"] is None
    assert f"no page: can't write {root / 'locks'}: " in done.stderr
    assert sorted(root.rglob("*")) == before


def test_runs_are_compared_without_a_page_if_only_the_page_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("can't write the page")

    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setattr(page_records, "write_page", refuse)
    names = sorted(path.name for path in (tmp_path / "root" / "runs").iterdir())[:2]
    done = CliRunner().invoke(cli, ["compare", *names, "--root", str(tmp_path / "root"), "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["report"] is None
    assert "no page: can't write the page\n" in done.stderr


def test_a_root_that_cannot_be_locked_for_another_reason_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: LocalStorage, _say: object) -> None:
        raise StorageError("no locks on this file system")

    validate_root(tmp_path)
    monkeypatch.setattr(LocalStorage, "shared_lock", fail)
    with pytest.raises(StorageError, match="no locks"), root_with_pages(str(tmp_path)):
        pass
