"""Inject faults into the pipeline and print the rows of docs/reliability.md.

Example: `python -m tests.reliability kills --times 200`. Every command prints its progress, and its rows last. The exit
code is 1 if anything was lost.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from tests.reliability.table import HEAD, Row, say

SEED = click.option("--seed", default=1, show_default=True, help="Seed of the random faults.")


@click.group()
def cli() -> None:
    """Inject faults into the pipeline."""


def finish(rows: Iterator[Row]) -> None:
    """Print the rows, including those before an error, and exit with code 1 if anything was lost."""
    found: list[Row] = []
    try:
        for row in rows:
            found.append(row)  # noqa: PERF402  # one by one, to keep them after an error
    finally:
        say("\n".join((HEAD, *(row.markdown() for row in found))))
    sys.exit(any(row.survived < row.tried for row in found))


@cli.command()
@click.option("--times", default=200, show_default=True, help="Number of trials.")
@SEED
def kills(times: int, seed: int) -> None:
    """Send SIGKILL to processes of a run at a random moment.

    The signal goes to one process of a complete run, or to all of them.
    """
    from tests.reliability.kills import main

    finish(main(times, seed))


@cli.command()
@click.option("--times", default=50, show_default=True, help="Number of trials for each command.")
@click.option("--only", default="", metavar="COMMAND", help="Run only the commands whose names contain this text.")
@SEED
def signals(times: int, only: str, seed: int) -> None:
    """Send SIGINT or SIGTERM to each command, sometimes twice.

    The moments are random.
    """
    from tests.reliability.signals import main

    finish(main(times, seed, only))


@cli.command()
@click.option(
    "--steps", default="", metavar="STEP,...", help="Run only these steps, and the steps that they depend on."
)
def crashes(steps: str) -> None:
    """Send SIGKILL before every file operation of every step."""
    from tests.reliability.crashes import main

    finish(main(steps.split(",") if steps else ()))


@cli.command()
def network() -> None:
    """Download from mirrors with every known fault."""
    from tests.reliability.network import main

    finish(main())


@cli.command()
@SEED
def tamper(seed: int) -> None:
    """Change a byte in every file of a run, and remove every file."""
    from tests.reliability.tampering import main

    finish(main(seed))


@cli.command()
@click.option("--times", default=100_000, show_default=True, help="Total number of inputs.")
@SEED
def fuzz(times: int, seed: int) -> None:
    """Pass broken inputs to every reader of files from others."""
    from tests.reliability.fuzzing import main

    finish(main(times, seed))


@cli.command()
@click.option("--count", default=10, show_default=True, help="Number of concurrent runs.")
def together(count: int) -> None:
    """Start many runs at once, with equal and different inputs."""
    from tests.reliability.together import main

    finish(main(count))


@cli.command()
@click.option("--minutes", default=60.0, show_default=True, help="Duration, without the end of the runs.")
@click.option("--clients", "count", default=10, show_default=True, help="Number of concurrent clients.")
def clients(minutes: float, count: int) -> None:
    """Let many clients use `mnist serve` while its worker is killed and its queue is full."""
    from tests.reliability.clients import main

    finish(main(minutes, count))


@cli.command()
@click.option(
    "--names", default="", metavar="PATTERN", help="Run only the faults whose names match this regular expression."
)
def disk(names: str) -> None:
    """Use faulty disks, unusual roots, and files that change.

    Files are also removed. Needs root privileges for `mount`.
    """
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
    help="With --server, also search this folder. Repeatable.",
)
def canaries(server: str, folders: tuple[Path, ...]) -> None:
    """Put a secret in every place, and search for leaks.

    The places are all those where a user can put a secret. The search covers everything that the commands leave.
    """
    from tests.reliability.canaries import main

    finish(main(server, folders))


@cli.command()
@click.option("--only", default="", metavar="inside|linked|refused", help="Run only one of the three trials.")
def foreign(only: str) -> None:
    """Check that foreign files survive every command.

    Foreign files are created under every name that the project uses.
    """
    from tests.reliability.foreign import main

    finish(main(only))


if __name__ == "__main__":
    cli()
