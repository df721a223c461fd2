"""The `mnist` command group, the commands that run a flow, and error handling for all commands.

Every command exits with 0 on success, 1 on a failed gate or check, and 2 on wrong usage or invalid input. A failing
command prints one line that says what to do. Each command imports what it needs inside its function, so that `--help`
answers immediately.
"""
# ruff: noqa: PLC0415

import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from flows.cli.completion import complete_champion_line, complete_recipe
from flows.cli.dataset import dataset
from flows.cli.doctor import doctor
from flows.cli.history import champion, compare_command, runs
from flows.cli.maintenance import prune, verify
from flows.cli.options import (
    DATASET,
    EPOCHS,
    EXPLAIN,
    FLOW_RUN_NAME,
    JSON,
    MIRRORS,
    ROOT,
    RUNNER,
    TAGS,
    WIDE_TABLES,
    AliasedOption,
    CheckedOption,
    CommandGroup,
    checks_of_options,
    seed_or_date,
)
from flows.cli.predict import predict
from flows.cli.serve import serve
from flows.cli.worker import worker
from flows.processes import stop
from flows.processes.console import echo_json
from tasks.errors import GateError, InputError, MnistError, describe_system_error
from tasks.safety.plain_text import in_text

if TYPE_CHECKING:
    from artifacts.screen import Screen


# Prefect's log lines contain texts of users, which must not be parsed as markup; without markup, colors are not needed.
_PLAIN_LOGS = {"PREFECT_LOGGING_MARKUP": "0", "PREFECT_LOGGING_COLORS": "0"}
_WORD_NUMBER = re.compile("[0-9]{1,4}")
_COMPLETION = "_MNIST_COMPLETE"  # the variable that Click derives from the name of the command
_SECTIONS = {
    "Run": ("run", "study"),
    "Inspect": ("runs", "compare", "champion", "predict", "dataset"),
    "Maintain": ("verify", "prune", "doctor"),
    "Serve": ("serve", "worker"),
}


@click.group(cls=CommandGroup, sections=_SECTIONS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mnist-error-analysis")
def cli() -> None:
    """Train image classifiers, compare them, and analyze their errors."""
    from tasks.safety.redaction import redact_all_output

    redact_all_output()  # before any library logs
    os.environ |= _PLAIN_LOGS


@cli.command()
@DATASET
@click.option(
    "--recipe", default="post", show_default=True, metavar="NAME|FILE.toml", help="Recipe name or TOML file.",
    shell_complete=complete_recipe,
)  # fmt: skip
@EPOCHS
@click.option(
    "--seed", cls=CheckedOption, callback=seed_or_date, metavar="N|date",
    help="Seed of the trainings; date: a seed from today's date (UTC).  [default: the recipe's]",
)  # fmt: skip
@click.option(
    "--validation", cls=CheckedOption, type=float, metavar="FRACTION",
    help="Fraction of the training images to hold out, such as 0.1.  [default: the recipe's]",
)  # fmt: skip
@click.option("--robustness", is_flag=True, help="Also evaluate robustness to image corruptions.")
@click.option(
    "--gate/--no-gate", default=True, help="Whether a failed gate fails the run; the report is published first."
)
@click.option(
    "--champion-line",
    "--line",
    "line",
    cls=AliasedOption,
    default="main",
    show_default=True,
    metavar="NAME",
    help="Champion line in which the best model competes.",
    shell_complete=complete_champion_line,
)
@FLOW_RUN_NAME
@TAGS
@ROOT
@MIRRORS
@RUNNER
@EXPLAIN
@WIDE_TABLES
@JSON
def run(as_json: bool, explain: bool, wide: bool, **given: Any) -> None:
    """Download the data, train the models, and report their errors."""
    _run_and_print("mnist", given, as_json=as_json, explain=explain, wide=wide)


@cli.command("study")
@click.option(
    "--seeds", cls=CheckedOption, type=int, default=10, show_default=True, metavar="N",
    help="Number of seeds, at least 2.",
)  # fmt: skip
@DATASET
@click.option(
    "--recipe", "recipes", multiple=True, default=("post",), show_default=True, metavar="NAME|FILE.toml",
    help="Recipe name or TOML file; all models of all recipes are compared. Repeatable.",
    shell_complete=complete_recipe,
)  # fmt: skip
@EPOCHS
@FLOW_RUN_NAME
@TAGS
@ROOT
@MIRRORS
@RUNNER
@EXPLAIN
@WIDE_TABLES
@JSON
def study_command(as_json: bool, explain: bool, wide: bool, **given: Any) -> None:
    """Train the models with many seeds and compare them.

    The study reports which differences exceed the variation from seed to seed and from image to image.
    """
    _run_and_print("study", given, as_json=as_json, explain=explain, wide=wide)


def _run_and_print(flow: str, given: dict[str, Any], *, as_json: bool, explain: bool, wide: bool) -> None:
    """Run a flow, print its result, and raise the gate's error if the gate failed.

    `given` holds the name and the tags of the flow run, and the parameters of the flow. Everything is validated before
    anything is started or written.
    """
    named = {"name": given.pop("flow_run_name"), "tags": given.pop("tags")}
    _require_valid(flow, given)
    from artifacts.screen import Screen

    console = Screen(err=True)
    result, failed = _run_flow(flow, given, named, console if console.is_terminal else None)
    if as_json:
        echo_json(result.model_dump(mode="json"))
    else:
        from artifacts.terminal import show, show_study

        print_result = show if flow == "mnist" else show_study
        print_result(result, explain=explain, wide=wide)
    if failed:
        raise failed


def _run_flow(
    name: str, parameters: dict[str, Any], named: Mapping[str, Any], console: "Screen | None"
) -> "tuple[Any, GateError | None]":
    """Run a flow on the configured Prefect server or on a temporary one.

    The flow and its module in `flows` have the same name. `named` holds the name and the tags of the flow run. Without a
    console, the run is shown as plain log lines.

    Returns:
        The flow's result, and the gate's error if the gate failed.
    """
    from flows.processes.prefect_compat import without_prefect_handlers
    from flows.processes.startup import exclude_imports_from_gc
    from flows.server.local_server import server, start_server

    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # libraries print; standard output is for the result alone
        with console.status("starting Prefect", spinner=console.spinner) if console else nullcontext():
            early = stack.enter_context(start_server())
            # Do the slow imports while the server starts.
            with stop.exit_on_signal(), exclude_imports_from_gc():
                from prefect.client.orchestration import get_client
                from prefect.flow_engine import run_flow as run_with_prefect
                from prefect.states import Pending

                import tasks.analysis.statistics  # noqa: F401  # import it now instead of in the middle of the run
                from flows.cli.console_log import quiet_console
                from flows.cli.live_view import live_view
                from flows.processes.log_filters import mask_prefect_settings
                from flows.processes.tied_to_worker import report_crash
                from tasks.safety.address import hide

                flow = getattr(import_module(f"flows.{name}"), name)
            stack.enter_context(quiet_console(console))
            mask_prefect_settings()  # before the first request, whose errors may hold a secret
            api = stack.enter_context(server(early))
            api.wait()
        parameters = hide(parameters)  # Prefect stores the parameters and shows them in its UI
        client = stack.enter_context(get_client(sync_client=True))
        # Create the flow run before it starts, so that the live view can watch it from the beginning.
        flow_run = client.create_flow_run(flow, parameters=parameters, state=Pending(), **named)
        stack.enter_context(live_view(client, flow_run.id, console) if console else nullcontext())
        stack.enter_context(stop.reporting(lambda: report_crash(flow_run.id)))
        stack.enter_context(without_prefect_handlers())
        failed = None
        try:
            result = run_with_prefect(flow, flow_run, parameters)
        except GateError as error:
            result, failed = error.result, error
    return result, failed


def _require_valid(name: str, parameters: Mapping[str, Any]) -> None:
    """Reject invalid parameters of a flow, and report all faults together, with those of the options."""
    from flows.config import validate_run, validate_study

    checks = checks_of_options()
    checks.run(_refuse_bytes, parameters)
    with redirect_stdout(sys.stderr):  # the package of a network's function may print when it is imported
        if name == "mnist":
            checks.run(validate_run, at=datetime.now(UTC), **parameters)
        else:
            checks.run(validate_study, **parameters)
    checks.raise_faults()


def _refuse_bytes(parameters: Mapping[str, Any]) -> None:
    """Reject parameters that are not valid UTF-8, because Prefect stores the parameters of a run as JSON."""
    for name, given in parameters.items():
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, str) and in_text(value) != value:
                raise InputError(f"can't use the {name} {value}: its name is not UTF-8, which Prefect needs; rename it")


for command in (compare_command, predict, champion, dataset, runs, verify, prune, doctor, serve, worker):
    cli.add_command(command)


def run_outcome(arguments: Sequence[str] | None) -> tuple[int, str]:
    """Run a command and return its exit code and, if that is not 0, the reasons: one line for each fault."""
    if fault := _fault_of_completion():
        return InputError.exit_code, fault
    try:
        cli.main(args=arguments, prog_name="mnist", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code, ""
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        line = summary_line(error)
        if line is None:
            raise  # a defect of the program: its traceback is needed
        if isinstance(error, MnistError):
            return error.exit_code, "\n".join(" ".join(fault.split()) for fault in error.fault_lines)
        return MnistError.exit_code, " ".join(line.split())
    return 0, ""


def _fault_of_completion() -> str:
    """Return why a request of a shell for completions can't be answered, or an empty string if there is no fault.

    Click takes the words from variables that the shell's completion function sets, and does not check them.
    """
    asked, word = os.environ.get(_COMPLETION, ""), os.environ.get("COMP_CWORD")
    if not asked.endswith("_complete"):
        return ""
    # For fish, the second variable is the word itself; for other shells, it is the number of the word.
    if "COMP_WORDS" in os.environ and word is not None and (_WORD_NUMBER.fullmatch(word) or asked.startswith("fish")):
        return ""
    return (
        f"{_COMPLETION} is for the completion function of a shell, which also sets COMP_WORDS and COMP_CWORD: unset it"
    )


def summary_line(error: Exception) -> str | None:
    """Return the one-line message for an error that a user can cause, or None for any other error."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, MnistError):
        return str(error)
    if isinstance(error, TimeoutError):  # of a task run
        return f"a step timed out: {str(error).rstrip('.')}; run again, or use fewer epochs"
    if isinstance(error, OSError):  # of a file that is not under the root, such as in a full temporary folder
        return describe_system_error(error)
    # Prefect needs the home directory.
    if isinstance(error, RuntimeError) and str(error).startswith("Could not determine home directory"):
        return "this account has no home directory: set HOME to a folder that it can write to"
    from flows.server.local_server import describe_connection_error
    from tasks.storage.backend import unreachable

    return describe_connection_error(error) or unreachable(error)
