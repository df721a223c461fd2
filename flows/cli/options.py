"""Options that several commands share, and the help of groups of commands."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from flows.cli.completion import complete_dataset
from flows.processes.console import Command, echo
from tasks.errors import Checks, InputError
from tasks.safety.redaction import redact
from tasks.schemas.run_names import is_automatic, slug_of

_LONGEST_TAG = 100
_LONGEST_HELP = 200  # characters of a command's line in the help of its group; a narrow terminal breaks the line
WORK_POOL = "mnist"  # of the worker that `mnist serve` starts, and the default of `mnist worker`


def seed_or_date(context: click.Context, option: click.Parameter, value: Any) -> int | str | None:
    """Convert the value of an option that takes a seed or the word `date`."""
    return value if value in (None, "date") else click.INT.convert(value, option, context)


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
            error.ctx, error.param = ctx, self
            ctx.meta.setdefault(_INVALID, []).append(InputError(error.format_message()))
            return self.get_default(ctx)


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
    """A name for a run, of which `tasks.schemas.run_names` makes a part of a path."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the part of a path, or fail with a usage error."""
        slug = slug_of(redact(value))  # the name is stored, printed and published
        if not slug:
            self.fail(f"{value!r} is not a name: use letters from a to z or digits", param, ctx)
        return slug


class _Tag(click.ParamType[str]):
    """A tag that Prefect can store, and that differs from those that runs get from their parameters."""

    name = "tag"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the tag, or fail with a usage error."""
        if not value.strip() or not value.isprintable() or len(value) > _LONGEST_TAG:
            self.fail(f"{value!r} is not a tag: use 1 to {_LONGEST_TAG} printable characters", param, ctx)
        if is_automatic(value):
            kind = value.partition(":")[0]
            self.fail(f"{value!r} begins with {kind}:, and each run gets this tag from its {kind}", param, ctx)
        return redact(value.strip())


FLOW_RUN_NAME: Callable[[Command], Command] = click.option(
    "--flow-run-name", cls=CheckedOption, type=_RunName(), metavar="NAME",
    help="Name of the run, which is preceded by its date.  [default: two random words]",
)  # fmt: skip
TAGS: Callable[[Command], Command] = click.option(
    "--tag", "tags", cls=CheckedOption, type=_Tag(), multiple=True, metavar="TAG",
    help="Tag of the run in Prefect's UI and in `mnist runs`. Repeatable.",
)  # fmt: skip
ROOT: Callable[[Command], Command] = click.option(
    "--root", metavar="DIR|s3://...", help="Folder or S3 prefix of all files.  [default: MNIST_ROOT, else data]"
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
    "--explain", is_flag=True, help="Show for each step whether it was cached, and if not, what has changed."
)
