"""Groups of commands whose help shows the commands by section, before the options."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from flows.processes.console import echo


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
            rows = [
                (f"{name:{width}}", command.get_short_help_str(formatter.width - width - 6)) for name, command in found
            ]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)
