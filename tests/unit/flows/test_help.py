"""Test the help of the `mnist` command and its groups."""

import pytest
from click.testing import CliRunner

from flows.cli.run import cli


@pytest.mark.parametrize("arguments", [[], ["dataset"]])
def test_a_group_without_a_command_prints_its_help_on_stdout(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, arguments, prog_name="mnist")
    assert done.exit_code == 0
    assert done.stdout == CliRunner().invoke(cli, [*arguments, "--help"], prog_name="mnist").stdout
    assert done.stdout.startswith("Usage: mnist")
    assert done.stderr == ""


def test_every_command_is_in_one_section_and_the_sections_precede_the_options() -> None:
    lines = CliRunner().invoke(cli, ["--help"]).stdout.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Run:", "Inspect:", "Maintain:", "Serve:", "Options:"]
    for name in cli.commands:
        assert len([line for line in lines if line.startswith(f"  {name} ")]) == 1


def test_a_command_that_is_in_no_section_is_shown_too() -> None:
    assert "Commands:\n  list  List" in CliRunner().invoke(cli, ["dataset"]).stdout
