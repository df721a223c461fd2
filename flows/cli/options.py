"""Options that several commands share, the check of the parameters of a flow, and the help of groups of commands."""
# ruff: noqa: PLC0415  # so that `--help` answers immediately

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Any

import click

from flows.cli.completion import complete_dataset
from flows.processes.console import VERBOSITY, Command, echo
from flows.processes.log_file import LOG_FILE, open_log_file
from tasks.errors import Checks, InputError
from tasks.safety.plain_text import in_text
from tasks.safety.redaction import redact
from tasks.schemas.names import is_automatic, slug_without_date

_LONGEST_TAG = 100
_LONGEST_HELP = 200  # characters of a command's line in the help of its group; a narrow terminal breaks the line
WORK_POOL = "mnist"  # of the worker that `mnist serve` starts, and the default of `mnist worker`


def seed_or_date(context: click.Context, option: click.Parameter, value: Any) -> int | str | None:
    """Convert the value of an option that takes a seed or the word `date`."""
    try:
        return value if value in (None, "date") else click.INT.convert(value, option, context)
    except click.BadParameter as error:
        raise click.BadParameter(f"must be an integer or date, got {value!r}") from error


_LOG_FILE = "mnist.log_file"  # the key of the log file that a group's option names in Click's context
_INVALID = "mnist.invalid"  # the key of the errors of a command's options in Click's context


class CheckedOption(click.Option):
    """An option whose invalid value is kept for `checks_of_options`, and replaced by the default.

    Click itself would report only the first invalid option.
    """

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the converted value, or the default if the value is invalid."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            ctx.meta.setdefault(_INVALID, []).append(InputError(f"{self.opts[0]} {self._fault(value, error.message)}"))
            return self.get_default(ctx)

    def _fault(self, value: Any, message: str) -> str:
        """Return what is wrong with a value, in other words than Click, which calls a type "integer range"."""
        if isinstance(self.type, click.types.IntParamType):
            low, high = getattr(self.type, "min", None), getattr(self.type, "max", None)
            limits = (
                f" from {low} to {high:,}" if high is not None else f" of at least {low}" if low is not None else ""
            )
            shown = value if str(value).lstrip("+-").isdecimal() else repr(value)
            return f"must be an integer{limits}, got {shown}"
        if isinstance(self.type, click.types.FloatParamType):
            return f"must be a number, got {value!r}"
        return message


def option_names() -> dict[str, str]:
    """Return the present name of each option of the current command, such as --champion-line, by its parameter."""
    return {str(one.name): one.opts[0] for one in click.get_current_context().command.params}


def checks_of_options() -> Checks:
    """Return the checks of the current command's options, to which the command adds its own."""
    checks = Checks()
    checks.errors += click.get_current_context().meta.get(_INVALID, [])
    return checks


class AliasedOption(click.Option):
    """An option whose help shows its first name only; the other names are those of earlier versions."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the name and the description for the help."""
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names


class CommandGroup(click.Group):
    """A group that prints its help if no command is given, which is no error.

    `sections` holds the names of commands under the heading of their section.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or print the help if there are none."""
        if not args and not ctx.resilient_parsing:
            echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, then the commands that are in none of them."""
        shown = {name for names in self.sections.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in shown]
        width = max(map(len, self.list_commands(ctx)))
        for heading, names in {**self.sections, "Commands": others}.items():
            found = [(name, command) for name in names if (command := self.get_command(ctx, name))]
            rows = [(f"{name:{width}}", command.get_short_help_str(_LONGEST_HELP)) for name, command in found]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class _RunName(click.ParamType[str]):
    """A name for a run, of which `tasks.schemas.names` makes a part of a path."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the part of a path, or fail with a usage error."""
        slug = slug_without_date(redact(value))  # the name is stored, printed and published
        if not slug:
            self.fail(f"{value!r} is not a name: use letters from a to z or digits", param, ctx)
        return slug


class _Tag(click.ParamType[str]):
    """A tag that Prefect can store, and that differs from those that runs get from their parameters."""

    name = "tag"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the tag, or fail with a usage error."""
        value = value.strip()
        if not value or not value.isprintable() or len(value) > _LONGEST_TAG:
            self.fail(f"{value!r} is not a tag: use 1 to {_LONGEST_TAG} printable characters", param, ctx)
        if is_automatic(value):
            kind = value.partition(":")[0]
            self.fail(f"{value!r} begins with {kind}:, and each run gets this tag from its {kind}", param, ctx)
        return redact(value)


FLOW_RUN_NAME: Callable[[Command], Command] = click.option(
    "--flow-run-name", cls=CheckedOption, type=_RunName(), metavar="NAME",
    help="Name of the run, which is preceded by its date.  [default: two random words]",
)  # fmt: skip
TAGS: Callable[[Command], Command] = click.option(
    "--tag", "tags", cls=CheckedOption, type=_Tag(), multiple=True, metavar="TAG",
    help="Tag of the run in Prefect's UI and in `mnist runs`. Repeatable.",
)  # fmt: skip
ROOT: Callable[[Command], Command] = click.option(
    "--root",
    metavar="DIR|s3://...",
    help="Folder or S3 prefix of all files.  [default: MNIST_ROOT, "
    "else a root around the current folder, else the configured one, else data]",
)
JSON: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, logs on stderr."
)
WIDE_TABLES: Callable[[Command], Command] = click.option(
    "--wide", is_flag=True, help="Show all columns of tables, even if the terminal is too narrow for them."
)


DATASET = click.option(
    "--dataset",
    default="mnist",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="Dataset name or TOML file.",
    shell_complete=complete_dataset,
)
EPOCHS = click.option(
    "--epochs",
    cls=CheckedOption,
    type=int,
    metavar="N",
    help="Passes over the training images.  [default: the recipe's]",
)
MIRRORS = click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL", help="Try this mirror first (http, https, file). Repeatable."
)
RUNNER = click.option(
    "--runner",
    default="process",
    show_default=True,
    metavar="NAME|URL",
    help="Where the trainings run: process, dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT.",
)
EXPLAIN = click.option(
    "--explain", is_flag=True, help="Show for each step whether it was cached, and if not, why it was computed."
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Show what would be computed, why, and how long it may take; compute nothing."
)


def require_valid_parameters(name: str, parameters: Mapping[str, Any], *, dry_run: bool) -> None:
    """Reject invalid parameters of a flow, and report all faults together, with those of the options.

    A dry run needs no Prefect server. Otherwise, the configured server must be reachable.
    """
    from flows.config import validate_run, validate_study
    from flows.server.configured_server import require_configured_server

    checks, names = checks_of_options(), option_names()
    checks.run(_refuse_bytes, parameters)
    with redirect_stdout(sys.stderr):  # the package of a network's function may print when it is imported
        if name == "mnist":
            checks.run(validate_run, at=datetime.now(UTC), names=names, **parameters)
        else:
            checks.run(validate_study, names=names, **parameters)
    if not dry_run:
        checks.run(require_configured_server)
    checks.raise_faults()


def _refuse_bytes(parameters: Mapping[str, Any]) -> None:
    """Reject parameters that are not valid UTF-8, because Prefect stores the parameters of a run as JSON."""
    for name, given in parameters.items():
        for value in given if isinstance(given, tuple) else (given,):
            if isinstance(value, str) and in_text(value) != value:
                raise InputError(f"can't use the {name} {value}: its name is not UTF-8, which Prefect needs; rename it")


def _set_verbosity(context: click.Context, option: click.Parameter, given: bool) -> None:
    """Make the command quiet or verbose until it ends."""
    if not given or context.resilient_parsing:
        return
    setattr(VERBOSITY, str(option.name), True)
    if VERBOSITY.quiet and VERBOSITY.verbose:
        VERBOSITY.reset()
        raise click.UsageError("--quiet and --verbose exclude each other: give one of them")
    context.find_root().call_on_close(VERBOSITY.reset)


def _open_log(context: click.Context, _option: click.Parameter, given: str | None) -> None:
    """Open the log file before the command starts.

    The option of the command itself comes first, then that of a group, then the variable.
    """
    if context.resilient_parsing:
        return
    if given is None:
        given = context.meta.get(_LOG_FILE)
    if isinstance(context.command, click.Group):
        context.meta[_LOG_FILE] = given
    elif given is not None:
        open_log_file(given)
    elif named := os.environ.get(LOG_FILE):
        open_log_file(named)


# Each command takes these options, and so do the groups, for the commands in them.
_OUTPUT_OPTIONS = (
    click.Option(
        ["-q", "--quiet"], is_flag=True, expose_value=False, callback=_set_verbosity,
        help="Print only the result and errors.",
    ),
    click.Option(
        ["-v", "--verbose"], is_flag=True, expose_value=False, callback=_set_verbosity,
        help="Print log lines as they come, instead of progress bars.",
    ),
    click.Option(
        ["--log-file"], metavar="FILE", expose_value=False, callback=_open_log,
        help="Also append the full log to a file.  [default: MNIST_LOG_FILE]",
    ),
)  # fmt: skip


def add_output_options(command: click.Command) -> None:
    """Add the options of all commands to a command, and to the commands in a group."""
    command.params.extend(_OUTPUT_OPTIONS)
    for one in command.commands.values() if isinstance(command, click.Group) else ():
        add_output_options(one)
