"""Test the console blocks of the documentation: commands are parsed, and tables of outputs are drawn again."""

import json
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

import click
import pytest
from click.testing import CliRunner
from prefect.cli import _app as prefect_cli

from flows.cli.options import checks_of_options
from flows.cli.run import cli
from tasks.schema_version import SCHEMA_VERSION
from tasks.schemas.results import ModelResult, RunResult
from tests.acceptance.main_job import compare_with_readme
from tests.support.samples import DECISION
from tests.tools.console_blocks import PAGES, PROJECT, Shown, form, main, redrawn, shown, tokens

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dask's own

OF_THE_SYSTEM = {"cat", "createdb", "cp", "docker", "eval", "export", "install", "kubectl", "openssl", "pg_dump", "pg_restore",
    "systemctl", "tar", "useradd"}  # fmt: skip
OF_PYTHON = {"pip", "ray"}  # `pip` and `ray` have no parser that is cheap to call
PACKAGES = {"tests.reliability", "benchmarks"}
CERTIFICATES = ("ca.crt", "cluster.crt", "cluster.key")
COMMANDS = [one for page in PAGES for one in shown(page)]
OUTPUTS = [one for one in COMMANDS if "┏" in one.output]


def parse(command: click.Command, words: Sequence[str], parent: click.Context | None = None) -> None:
    """Let a click command check its arguments and options, and run nothing."""
    try:
        with command.make_context(command.name, list(words), parent) as context:
            checks_of_options().raise_faults()
            if isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
                _, found, others = command.resolve_command(context, rest)
                assert found
                parse(found, others, context)
    except click.exceptions.Exit:
        assert "--help" in words or (isinstance(command, click.Group) and not words)


def check(words: list[str]) -> None:
    """Check that a command exists, and that it takes its arguments."""
    assert all(list(PROJECT.glob(word)) for word in words if word.startswith("deployments/")), words
    program, arguments = PurePath(words[0]).name, words[1:]
    if program == "sudo":
        check(arguments)
    elif program == "mnist":
        parse(cli, arguments)
    elif program == "prefect":
        _, bound, _ = prefect_cli._app.meta.parse_args(arguments)
        prefect_cli._app.parse_args(bound.args, exit_on_error=False, print_error=False)
    elif program == "dask":
        parse(entry_points(group="dask_cli")[arguments[0]].load(), arguments[1:])
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif words[0] == ".ci/run":
        assert set(arguments) <= set(re.findall(r"^([a-z]+)\(\)", (PROJECT / ".ci/run").read_text(), re.MULTILINE))
    elif program == "python":
        module, *others = arguments[arguments.index("-m") + 1 :]
        assert find_spec(module), module
        if module.startswith(("tests.reliability", "benchmarks")):
            names = vars(import_module(f"{module}.__main__" if module in PACKAGES else module))
            command = names.get("cli") or names.get("main")
            if isinstance(command, click.Command):
                parse(command, others)
    else:
        assert program in OF_THE_SYSTEM | OF_PYTHON or words[0].startswith("deployments/"), words


def title(one: Shown) -> str:
    return f"{one.page.relative_to(PROJECT)}: {one.command[:60]}"


@pytest.mark.parametrize("one", COMMANDS, ids=title)
def test_every_command_of_a_block_exists_and_takes_its_options(
    one: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "secret")  # as a command before this one does
    for name in CERTIFICATES:  # Dask opens them while it reads its options
        Path("tls").mkdir(exist_ok=True)
        Path("tls", name).touch()
    check(shlex.split(one.command, comments=True))
    for inner in re.findall(r"\$\(([^()]*)\)", one.command):
        check(shlex.split(inner))


def spans(page: Path) -> set[str]:
    """Return the commands in the sentences and tables of a page, without optional parts."""
    found = {inner.content for token in tokens(page) for inner in token.children or () if inner.type == "code_inline"}
    named = {text for text in found if re.match(r"(\S*bin/)?(mnist|make|python -m|prefect|\.ci/run) [^=]", text)}
    return {re.sub(r" ?\[[^]]*\]|\.\.\.|…| (COMMAND|NAME|PART)\b| \d?[>|].*", "", text) for text in named}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_of_a_sentence_exists_and_takes_its_options(page: Path) -> None:
    for text in spans(page):
        with suppress(click.MissingParameter, click.exceptions.NoArgsIsHelpError):  # a sentence may omit arguments
            check([re.sub(r"^N$", "1", word) for word in shlex.split(text)])


@pytest.mark.parametrize("words", ["mnist rum", "mnist run --epoch", "mnist run --epochs three", "make tests", "ls",
    "prefect deployment run a/b --parm x=1", "dask worker --threads 1", "python -m tests.reliability kills --time 1",
])  # fmt: skip
def test_a_command_that_does_not_exist_is_found(words: str) -> None:
    with pytest.raises(Exception, match=r"."):
        check(words.split())


def test_the_help_is_shown_as_it_is_printed() -> None:
    (help_text,) = [one for one in COMMANDS if one.command.endswith("mnist run --help")]
    assert (
        help_text.output == CliRunner().invoke(cli, ["run", "--help"], prog_name="mnist", terminal_width=78).output
    )  # click's for a terminal of 80


@pytest.mark.parametrize("one", OUTPUTS, ids=title)
def test_a_table_is_shown_as_it_is_printed(one: Shown) -> None:
    assert one.output.startswith(redrawn(one.output))
    head = one.output.splitlines()[2].strip("┃").split("┃")
    printed = "".join((PROJECT / "artifacts" / name).read_text() for name in ("terminal.py", "plan.py"))
    assert all(f'"{column.strip()}": ' in printed for column in head)


def test_the_form_of_an_output_is_without_its_figures_and_names() -> None:
    one, other = (
        "run 20261125-192642-weightless-skylark\n│ a │  9.8 s │",
        "run 20261126-065620-vehement-myna\n│ a │ 11.0 s │",
    )
    assert form(one) == form(other) == ["run #", "│ a │ # s │"]
    assert form(one) != form(one.replace("a", "b"))


def result_of_a_run() -> dict[str, Any]:
    """Return what `mnist run --json` prints, with other figures than the README."""
    models = {
        name: ModelResult(accuracy=0.9, errors=1000, loss=0.1, parameters=272_000, epochs=3, fit_seconds=9.1,
                          model="", model_sha256="", predictions="")
        for name in ("plain", "batch_norm")
    }  # fmt: skip
    decision = DECISION.model_copy(update={"challenger": "batch_norm"})
    result = RunResult(
        run="20261126-065620-vehement-myna", root="/root", seconds=9.5, dataset="mnist", models=models, verdict="Within error.",
        comparisons=(), decision=decision, promoted=True, report={"html": "runs/20261126-065620-vehement-myna/report.html"},
        steps=(),
    )  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, **result.model_dump(mode="json")}


def test_the_output_of_a_run_is_that_of_the_readme_whatever_the_figures() -> None:
    result = result_of_a_run()
    compare_with_readme(result)
    result["models"]["another"] = result["models"].pop("plain")
    with pytest.raises(AssertionError, match="another output"):
        compare_with_readme(result)


def test_the_output_of_a_run_is_written_into_a_page(tmp_path: Path) -> None:
    page, result = tmp_path / "page.md", tmp_path / "result.json"
    page.write_text("# Title\n\n```console\n$ mnist run\nold\n$ mnist runs\n```\n")
    result.write_text(json.dumps(result_of_a_run()))
    main(str(page), "mnist run", str(result))
    text = page.read_text()
    assert "│ plain      │    272,000 │      3 │  90.00 % │" in text
    assert "old" not in text
    assert text.endswith("/runs/flow-run/…\n$ mnist runs\n```\n")
