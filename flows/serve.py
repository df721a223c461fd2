"""The `mnist serve` command: Prefect's server with its UI, the deployments, and one worker, until Ctrl-C ends all of it.

Each is the command that stands in docs/production.md, in a process that ends with this one, however this one ends.
"""
# ruff: noqa: PLC0415  # `--help` answers at once

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows import stop
from flows.options import JSON, ROOT, root_of
from tasks.errors import ServerError

if TYPE_CHECKING:
    from tasks.store import Root

POOL = "mnist"
STOP_SECONDS = 10.5  # for the worker to end its runs, and for the server to hear of it: all ends within 15 s
SECONDS = 13.0  # from the first signal on, before what has not ended is killed
POOL_SECONDS = 120.0
WORKER = ("prefect", "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1")  # one run takes all cores
HERE = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to bind; 0.0.0.0 for all."
)
@click.option("--port", type=click.IntRange(1, 65535), default=4200, show_default=True, metavar="N", help="Port.")
@ROOT
@JSON
def serve(host: str, port: int, root: str | None, as_json: bool) -> None:
    """Run Prefect's server with its UI, the deployments and one worker on this machine, until Ctrl-C."""
    from flows.database import make_database
    from tasks.files import checked_root

    place = checked_root(root_of(root))
    must_be_free(host, port)
    make_database()
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104  # a comparison
    env = environment(address, place)
    if host not in HERE and not env.get("PREFECT_SERVER_API_AUTH_STRING"):
        click.echo(
            f"mnist: warning: whoever reaches {host}:{port} can read the runs, and start code on this machine: set "
            "PREFECT_SERVER_API_AUTH_STRING=user:password, or leave --host away",
            err=True,
        )
    server = ("prefect", "server", "start", "--host", host, "--port", str(port), "--log-level", "warning")
    stop.ENDING.seconds, stop.ENDING.line = SECONDS, "stopped"
    with tied(server, env) as serving:
        await_api(address, serving)
        with tied(WORKER, env) as working:
            await_pool(address, env, working)
            deploy(env)
            click.echo(json.dumps(described(address, place)) if as_json else how_to_go_on(address, place))
            await_end(serving, working)
        while True:
            click.echo("mnist: warning: the worker was killed; its runs end, and another starts", err=True)
            with tied(WORKER, env) as working:
                await_end(serving, working)


def environment(address: str, root: "Root") -> dict[str, str]:
    """What the processes need to know: one server, one root, and the authentication that the user's environment holds."""
    env = os.environ | {
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_UI_API_URL": "/api",  # of the address that the browser knows, which need not be this one
        "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
        "MNIST_ROOT": str(root),
    }
    if "PREFECT_SERVER_API_AUTH_STRING" in env:
        env.setdefault("PREFECT_API_AUTH_STRING", env["PREFECT_SERVER_API_AUTH_STRING"])
    return env


def must_be_free(host: str, port: int) -> None:
    """Refuse an address that can't be bound, before anything is started.

    Raises:
        ServerError: another program has it, or it is not this machine's.
    """
    try:
        family, kind, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServerError(f"can't listen on {host}:{port}: {reason}; give another --port or --host") from error


@contextmanager
def tied(command: tuple[str, ...], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module as a command that ends with this process; told to end with the block."""
    from flows.server import stop as ended

    child = subprocess.Popen(  # noqa: S603  # a command of our own
        [sys.executable, "-m", "flows.tied", *command],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env=env,
        start_new_session=True,  # Ctrl-C is for this process, which ends the worker before the server
    )
    try:
        yield child
    finally:
        ended(child, STOP_SECONDS)


def await_api(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for the server.

    Raises:
        ServerError: it does not come up.
    """
    from flows.server import up

    if not up(f"{address}/api", server):
        raise ServerError(f"the Prefect server at {address} did not come up; what it says stands above")


def await_pool(address: str, env: Mapping[str, str], worker: subprocess.Popen[bytes]) -> None:
    """Wait until the worker has made its pool, where there is none yet.

    Raises:
        ServerError: it did not.
    """
    import httpx

    user, _, password = env.get("PREFECT_API_AUTH_STRING", "").partition(":")
    limit = time.monotonic() + POOL_SECONDS
    while worker.poll() is None and time.monotonic() < limit:
        if httpx.get(f"{address}/api/work_pools/{POOL}", auth=(user, password)).is_success:
            return
        time.sleep(0.3)
    raise ServerError("the worker did not come up; what it says stands above")


def deploy(env: Mapping[str, str]) -> None:
    """Make the deployments of `deployments/prefect.yaml`.

    Raises:
        ServerError: Prefect refuses them.
    """
    with resources.as_file(resources.files("deployments") / "prefect.yaml") as file:
        command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(  # noqa: S603  # a command of our own
            [sys.executable, "-m", *command], env=env, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ServerError(f"the deployments were refused: {' '.join(done.stderr.split()) or done.stdout}")


def described(address: str, root: "Root") -> dict[str, str]:
    """Where everything is."""
    return {"ui": address, "api": f"{address}/api", "work_pool": POOL, "root": str(root)}


def how_to_go_on(address: str, root: "Root") -> str:
    """What a person does next."""
    prefect = Path(sys.executable).with_name("prefect")
    shown = os.path.relpath(prefect) if prefect.is_relative_to(Path.cwd()) else prefect
    return (
        f"UI:       {address}\n"
        f"start:    PREFECT_API_URL={address}/api {shown} deployment run mnist/on-demand --watch\n"
        f"files:    {root}\n"
        "Ctrl-C ends the server, the worker and its runs."
    )


def await_end(server: subprocess.Popen[bytes], worker: subprocess.Popen[bytes]) -> None:
    """Wait until the worker is killed.

    Raises:
        ServerError: the server has ended by itself, or the worker has, which another would do as well.
    """
    while server.poll() is None and worker.poll() is None:
        time.sleep(0.5)
    if server.poll() is not None or worker.returncode >= 0:
        name = "worker" if server.poll() is None else "server"
        raise ServerError(f"the {name} has ended by itself; what it said stands above")
