"""The `mnist` command group, and the commands that run a flow.

Each command imports what it needs inside its function, so that `--help` answers immediately.
"""
# ruff: noqa: PLC0415

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from flows.cli.completion import complete_champion_line, complete_recipe
from flows.cli.dataset import dataset
from flows.cli.history import champion, compare_command, runs
from flows.cli.maintenance import doctor, prune, verify
from flows.cli.options import (
    DATASET,
    DRY_RUN,
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
    add_output_options,
    require_valid_parameters,
    seed_or_date,
)
from flows.cli.predict import predict
from flows.cli.serve import serve
from flows.cli.worker import worker
from flows.processes import stop
from flows.processes.console import VERBOSITY, echo_json
from tasks.errors import GateError

if TYPE_CHECKING:
    from artifacts.screen import Screen


# Prefect's log lines contain texts of users, which must not be parsed as markup; without markup, colors are not needed.
_PLAIN_LOGS = {"PREFECT_LOGGING_MARKUP": "0", "PREFECT_LOGGING_COLORS": "0"}
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
@DRY_RUN
@EXPLAIN
@WIDE_TABLES
@JSON
def run(**given: Any) -> None:
    """Download the data, train the models, and report their errors."""
    _run_or_plan("mnist", **given)


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
@DRY_RUN
@EXPLAIN
@WIDE_TABLES
@JSON
def study_command(**given: Any) -> None:
    """Train the models with many seeds and compare them.

    The study reports which differences exceed the variation from seed to seed and from image to image.
    """
    _run_or_plan("study", **given)


def _run_or_plan(
    flow: str,
    *,
    as_json: bool,
    dry_run: bool,
    explain: bool,
    wide: bool,
    flow_run_name: str | None,
    tags: Sequence[str],
    **parameters: Any,
) -> None:
    """Run a flow with its parameters, or plan its steps.

    Everything is validated before anything is started or written.
    """
    require_valid_parameters(flow, parameters, dry_run=dry_run)
    if dry_run:
        _plan_and_print(flow, parameters, as_json=as_json, wide=wide)
    else:
        named = {"name": flow_run_name, "tags": tags}
        _run_and_print(flow, parameters, named, as_json=as_json, explain=explain, wide=wide)


def _run_and_print(
    flow: str, parameters: dict[str, Any], named: Mapping[str, Any], *, as_json: bool, explain: bool, wide: bool
) -> None:
    """Run a flow, print its result, and raise the gate's error if the gate failed."""
    from artifacts.screen import Screen

    console = Screen(err=True)
    drawn = console.is_terminal and not VERBOSITY.quiet and not VERBOSITY.verbose
    result, failed = _run_flow(flow, parameters, named, console if drawn else None)
    if as_json:
        echo_json(result.model_dump(mode="json"))
    else:
        from artifacts.terminal import show, show_study

        print_result = show if flow == "mnist" else show_study
        print_result(result, explain=explain, wide=wide)
    if failed:
        raise failed


def _plan_and_print(flow: str, parameters: dict[str, Any], *, as_json: bool, wide: bool) -> None:
    """Plan the steps of a flow and print the plan; start and write nothing."""
    from flows.processes.settings_files import without_new_home
    from flows.processes.startup import exclude_imports_from_gc

    with redirect_stdout(sys.stderr), without_new_home(), exclude_imports_from_gc():  # libraries print
        from flows.plan import plan_run, plan_study

        plan = plan_run(parameters) if flow == "mnist" else plan_study(parameters)
    if as_json:
        echo_json(plan.model_dump(mode="json"))
        return
    from artifacts.plan import show_plan

    show_plan(plan, wide=wide)


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


for command in (compare_command, predict, champion, dataset, runs, verify, prune, doctor, serve, worker):
    cli.add_command(command)
add_output_options(cli)
