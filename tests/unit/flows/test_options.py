"""Options of the command: their earlier names, and the version of what `--json` prints."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli.run import cli
from tasks.schema_version import SCHEMA_VERSION


@pytest.mark.parametrize("option", ["--champion-line", "--line"])
def test_the_champion_line_has_its_earlier_name_too(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def run_flow(_name: str, parameters: dict[str, Any], _console: object) -> None:
        given.update(parameters)
        raise RuntimeError

    monkeypatch.setattr("flows.cli.run._run_flow", run_flow)
    CliRunner().invoke(cli, ["run", option, "nightly"])
    assert given["line"] == "nightly"


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
