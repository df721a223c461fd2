"""Break the pipeline on purpose, and print the rows of docs/reliability.md: `python -m tests.reliability kills --times 200`.

Every command prints what it does as it goes, its rows last, and ends with 1 if anything was lost.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tests.reliability.table import HEAD, Row, say

SEED = click.option("--seed", default=1, show_default=True, help="The same seed draws the same faults.")


@click.group()
def cli() -> None:
    """Break the pipeline on purpose."""


def finish(rows: Iterator[Row]) -> None:
    """Print the rows, those before an error too, and fail if anything was lost."""
    found: list[Row] = []
    try:
        for row in rows:
            found.append(row)  # noqa: PERF402  # one by one, to have them after an error
    finally:
        say("\n".join((HEAD, *(row.markdown() for row in found))))
    sys.exit(any(row.survived < row.tried for row in found))


@cli.command()
@click.option("--times", default=200, show_default=True)
@SEED
def kills(times: int, seed: int) -> None:
    """SIGKILL to a process of a whole run, at a drawn moment."""
    from tests.reliability.kills import main

    finish(main(times, seed))


@cli.command()
@click.option("--times", default=50, show_default=True)
@click.option("--only", default="", metavar="COMMAND", help="Only the commands in whose names it is found.")
@SEED
def signals(times: int, only: str, seed: int) -> None:
    """SIGINT or SIGTERM to each command, at a drawn moment; a second one now and then."""
    from tests.reliability.signals import main

    finish(main(times, seed, only))


@cli.command()
@click.option("--steps", default="", metavar="STEP,...", help="Only these, and what they need.")
def crashes(steps: str) -> None:
    """SIGKILL before every single file operation of every step."""
    from tests.reliability.crashes import main

    finish(main(steps.split(",") if steps else ()))


@cli.command()
def network() -> None:
    """Mirrors that do all that mirrors can do."""
    from tests.reliability.network import main

    finish(main())


@cli.command()
@SEED
def tamper(seed: int) -> None:
    """A byte changed in every file of a run, and every file gone."""
    from tests.reliability.tampering import main

    finish(main(seed))


@cli.command()
@click.option("--times", default=100_000, show_default=True)
@SEED
def fuzz(times: int, seed: int) -> None:
    """Broken inputs for everything that reads what others have written."""
    from tests.reliability.fuzzing import main

    finish(main(times, seed))


@cli.command()
@click.option("--count", default=10, show_default=True)
def together(count: int) -> None:
    """Many runs at once, of the same inputs and of different ones."""
    from tests.reliability.together import main

    finish(main(count))


@cli.command()
@click.option("--names", default="", metavar="PATTERN", help="Only the faults in whose names it is found.")
def disk(names: str) -> None:
    """Disks and roots of all kinds; files that go or change. Needs root, for `mount`."""
    from tests.reliability.disk import main

    finish(main(names))


@cli.command()
@click.option(
    "--server", default="", metavar="URL", help="Start a run with secrets at this server, such as `mnist serve`'s."
)
@click.option(
    "--folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="With --server: search it, too. Repeatable.",
)
def canaries(server: str, folders: tuple[Path, ...]) -> None:
    """A secret in every place that a user can put one, then a search of all that is left."""
    from tests.reliability.canaries import main

    finish(main(server, folders))


@cli.command()
@click.option("--only", default="", metavar="inside|linked|refused", help="One trial of the three.")
def foreign(only: str) -> None:
    """Files of others under every name that the project uses."""
    from tests.reliability.foreign import main

    finish(main(only))


if __name__ == "__main__":
    cli()
