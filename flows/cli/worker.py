"""The `mnist worker` command: a Prefect worker that runs the flows of this project and nothing else."""
# ruff: noqa: PLC0415  # so that `--help` answers immediately

import os
from collections.abc import Iterable

import click

from flows.cli.options import WORK_POOL, CheckedOption, checks_of_options
from flows.processes.console import CONSOLE_LEVEL, VERBOSITY, echo
from tasks.errors import ServerError

_DRAIN_SECONDS = 1.0  # for each of two queues; the worker ends within 5 s
_BANNED = "/%&<>"  # in the names of Prefect's objects, which are parts of addresses


class _Name(click.ParamType[str]):
    """A name that Prefect accepts."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with a usage error."""
        if not value or not value.isprintable() or any(one in value for one in _BANNED):
            self.fail(f"{value!r} is not a name: use printable characters except {' '.join(_BANNED)}", param, ctx)
        return value


@click.command()
@click.option(
    "--pool",
    cls=CheckedOption,
    default=WORK_POOL,
    show_default=True,
    type=_Name(),
    help="Work pool; created if it does not exist.",
)
@click.option(
    "--work-queue", "queues", cls=CheckedOption, multiple=True, type=_Name(),
    help="Take runs only from this queue. Repeatable.",
)  # fmt: skip
@click.option(
    "--limit", cls=CheckedOption, type=click.IntRange(1), default=1, show_default=True, metavar="N",
    help="Maximum number of concurrent runs; one run uses all cores.",
)  # fmt: skip
@click.option("--name", cls=CheckedOption, type=_Name(), help="Name of the worker in the UI.")
@click.option(
    "--with-healthcheck", is_flag=True,
    help="Serve /health on 127.0.0.1:8080, or on PREFECT_WORKER_WEBSERVER_HOST and PREFECT_WORKER_WEBSERVER_PORT.",
)  # fmt: skip
@click.option(
    "--allow-runner", "runners", multiple=True, envvar="MNIST_RUNNERS", metavar="URL",
    help="Cluster that runs may use: dask://HOST:PORT, tls://HOST:PORT or ray://HOST:PORT. Repeatable.  "
    "[default: MNIST_RUNNERS]",
)  # fmt: skip
def worker(pool: str, with_healthcheck: bool, runners: tuple[str, ...], **options: object) -> None:
    """Run the project's flows for a Prefect server until Ctrl-C.

    The worker rejects all other flow runs.
    """
    allowed = _allowed_runners(runners)
    if VERBOSITY.quiet:
        os.environ[CONSOLE_LEVEL] = "ERROR"  # for the runs, too
    import asyncio
    from contextlib import suppress

    from prefect.settings import PREFECT_WORKER_WEBSERVER_HOST, get_current_settings, temporary_settings

    from flows.processes.log_file import log_to_file
    from flows.processes.log_filters import mask_prefect_settings
    from flows.processes.prefect_compat import drain_queues
    from flows.server.local_server import check_server
    from flows.server.process_worker import MnistWorker, run_until_signal

    mask_prefect_settings()
    log_to_file()
    settings = get_current_settings()
    url = settings.api.url
    if not url:
        raise ServerError(
            "a worker needs a Prefect server: set PREFECT_API_URL, or use `mnist serve`, which starts a server"
        )
    check_server(url)
    queues = options.pop("queues")
    made = MnistWorker(pool, runners=allowed, work_queues=list(queues), **options)  # type: ignore[call-overload]
    # Prefect's default is all addresses of the machine.
    given = "host" in settings.worker.webserver.model_fields_set
    host = {} if given else {PREFECT_WORKER_WEBSERVER_HOST: "127.0.0.1"}
    with temporary_settings(host), suppress(asyncio.CancelledError):  # the worker stopped on request
        asyncio.run(run_until_signal(made, with_healthcheck=with_healthcheck, say=_print_message))
    drain_queues(lambda: _DRAIN_SECONDS)


def _allowed_runners(names: Iterable[str]) -> list[str]:
    """Return the names of the runners that runs may use, or report all invalid options before Prefect is imported."""
    from flows.config import validate_runner

    checks = checks_of_options()
    found = [checks.run(validate_runner, name) for name in names]
    checks.raise_faults()
    return [name for name in found if name]


def _print_message(line: object, **_style: object) -> None:
    """Print a line on standard error."""
    echo(f"mnist: {line}", err=True)
