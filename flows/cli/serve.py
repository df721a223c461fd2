"""The `mnist serve` command: Prefect's server with its UI, the deployments, and one worker, until Ctrl-C.

The server, the deployment step and the worker are the commands that docs/production.md describes. The server and the
worker run in processes that end with this process, even if it is killed. The server runs behind
`flows/server/guard.py`; the worker gets the credential through the environment.
"""
# ruff: noqa: PLC0415  # so that `--help` answers immediately

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from flows.cli.options import JSON, ROOT, WORK_POOL, CheckedOption, checks_of_options
from flows.processes import stop
from flows.processes.console import VERBOSITY, echo, json_document, warn
from flows.root_option import require_usable_root, resolve_root
from flows.server.serving import ALLOWED, HOST, port_option
from tasks.errors import InputError, ServerError

if TYPE_CHECKING:
    from flows.server.credential import Credential
    from tasks.storage.backend import Root

_STOP_SECONDS = 10.5  # time for the worker to end its runs and report to the server; everything ends within 15 s
_SECONDS = 13.0  # from the first signal until the remaining processes are killed
_POOL_SECONDS = 120.0
_ANSWER_SECONDS = 5.0  # a server that has just started on a busy machine may take longer; the request is repeated
_WORKER = ("flows.cli.app", "worker", "--pool", WORK_POOL, "--limit", "1")  # one run uses all cores
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # wildcard addresses, and the loopback addresses to reach them


class Served(NamedTuple):
    """Server address, root of the worker, credential, and the Prefect profiles file with address and credential.

    `unset` lists the variables of this environment that select another server and would override the profiles.
    """

    address: str
    root: "Root"
    credential: "Credential"
    profiles: Path
    unset: list[str]


@click.command()
@HOST
@port_option(CheckedOption)
@ALLOWED
@click.option(
    "--worker/--no-worker",
    default=True,
    help="Whether to create the deployments and run a worker.",
)
@ROOT
@JSON
def serve(host: str, port: int, allowed: tuple[str, ...], worker: bool, root: str | None, as_json: bool) -> None:
    """Run a Prefect server, its UI and a worker until Ctrl-C.

    The command also creates the deployments. With --no-worker, it runs only the server and its UI.
    """
    from flows.server.addresses import LOOPBACK, url_host

    host = _require_valid(host, port, allowed, root, worker=worker)
    listener = _listening(host, port)
    from flows.processes.log_filters import mask_prefect_settings
    from flows.processes.settings_files import require_writable_home
    from flows.server.credential import overriding_variables, server_credential, write_profiles
    from flows.server.database import make_database
    from flows.server.local_server import wait_until_healthy
    from tasks.storage.roots import validate_root

    mask_prefect_settings()
    require_writable_home()
    place = resolve_root(root)
    if worker:
        place = validate_root(place)  # the worker writes to it
    make_database()
    address = f"http://{url_host(_WILDCARDS.get(host, host))}:{port}"
    api, credential = f"{address}/api", server_credential()
    profiles = write_profiles(api, credential)
    served = Served(address, place, credential, profiles, overriding_variables(os.environ, api, credential))
    if url_host(host) not in LOOPBACK and not host.startswith("127."):
        warn(
            f"mnist: warning: {host}:{port} is open to the network without TLS: anyone who reads the traffic gets the "
            "secret and can start runs on this machine; use a TLS proxy, or omit --host",
        )
    named = [part for name in allowed for part in ("--allowed-host", name)]
    where = ("--host", host, "--port", str(port), "--fd", str(listener.fileno()))
    server = ("flows.server.serving", *where, "--log-level", "warning", *named)
    env = _worker_environment(served)
    stop.ENDING.seconds, stop.ENDING.line = _SECONDS, "stopped"
    with listener, _start_tied_process(server, env, listener.fileno()) as serving:
        if not wait_until_healthy(api, serving):
            raise ServerError(f"the Prefect server at {address} did not start; its messages are above")
        if worker:
            _keep_worker_running(serving, served, env, as_json=as_json)
        else:
            echo(_process_output(served, as_json=as_json, worker=False))
            _await_end(serving)


def _require_valid(host: str, port: int, allowed: Iterable[str], root: str | None, *, worker: bool) -> str:
    """Check the options before anything is started or written, and return the host in the form that clients send."""
    from flows.server.addresses import allowed_addresses, canonical

    checks = checks_of_options()
    shown = checks.run(canonical, host)
    if shown is not None:
        checks.run(_require_own, shown)
    checks.run(allowed_addresses, shown or host, port, allowed)
    checks.run(require_usable_root if worker else resolve_root, root)
    checks.raise_faults()
    return shown or host


def _require_own(host: str) -> None:
    """Check that a host is an address or a name of this machine.

    Raises:
        InputError: If it is not.
    """
    try:
        _bind(host, 0).close()
    except OSError as error:
        raise InputError(
            f"--host must be an address or the name of this machine, got {host!r}: {_reason(error)}"
        ) from error


def _keep_worker_running(
    serving: subprocess.Popen[bytes], served: Served, env: Mapping[str, str], *, as_json: bool
) -> None:
    """Make the deployments and run a worker as long as the server runs.

    If the worker is killed, start another.
    """
    for start in count():
        with _start_tied_process((*_WORKER, "--quiet") if VERBOSITY.quiet else _WORKER, env) as working:
            if start == 0:
                await_pool(served, working)
                _deploy(env)
                echo(_process_output(served, as_json=as_json, worker=True))
            _await_end(serving, working)
        echo("mnist: warning: the worker was killed; its runs end, and a new worker starts", err=True)


def _worker_environment(served: Served) -> dict[str, str]:
    """Return the environment of the server and the worker: the server's address, its credential, and the root."""
    from flows.server.credential import client_settings

    return os.environ | {
        "PREFECT_API_URL": f"{served.address}/api",
        **client_settings(served.credential.value),
        "PREFECT_SERVER_API_AUTH_STRING": served.credential.value,
        "PREFECT_SERVER_API_BASE_PATH": "/api",
        "PREFECT_UI_API_URL": "/api",  # relative to the address that the browser uses, which may be a proxy's
        "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
        "MNIST_ROOT": str(served.root),
    }


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the server's address.

    The address is bound before any process starts, so that no other account can take it in the meantime and receive the
    secret.
    """
    try:
        return _bind(host, port)
    except OSError as error:
        raise ServerError(f"can't listen on {host}:{port}: {_reason(error)}; give another --port or --host") from error


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address."""
    family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(where[:2], family=family, backlog=2048)


def _reason(error: OSError) -> str:
    """Return the reason of an error of sockets; some messages of Python repeat the address."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


@contextmanager
def _start_tied_process(
    command: tuple[str, ...], env: Mapping[str, str], *fds: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module in a process that ends with this process; ask it to end when the block ends."""
    from flows.server.local_server import stop_server as ended

    child = subprocess.Popen(  # noqa: S603  # a command of our own
        [sys.executable, "-P", "-m", "flows.processes.tied_to_parent", *command],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env=env,
        pass_fds=fds,
        start_new_session=True,  # Ctrl-C must reach only this process, which ends the worker before the server
    )
    try:
        yield child
    finally:
        ended(child, _STOP_SECONDS)


def await_pool(served: Served, worker: subprocess.Popen[bytes]) -> None:
    """Wait until the worker has made its work pool, or return at once if the pool exists.

    Raises:
        ServerError: If the worker ends, or does not make the pool in time.
    """
    import httpx

    from flows.server.credential import authorization

    headers = authorization(served.credential.value)
    limit = time.monotonic() + _POOL_SECONDS
    url = f"{served.address}/api/work_pools/{WORK_POOL}"
    while worker.poll() is None and time.monotonic() < limit:
        with suppress(httpx.TimeoutException):
            if httpx.get(url, headers=headers, timeout=_ANSWER_SECONDS).is_success:
                return
        time.sleep(0.3)
    raise ServerError("the worker did not start; its messages are above")


def _deploy(env: Mapping[str, str]) -> None:
    """Make the deployments of `deployments/prefect.yaml`.

    The command runs in an empty folder: Prefect puts its current folder first on the import path, where a module could
    have the name of a module of this project.
    """
    from flows.server.vetting import DEPLOY_FOLDER

    yaml = resources.as_file(resources.files("deployments") / "prefect.yaml")
    with yaml as file, tempfile.TemporaryDirectory() as empty:
        command = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(  # noqa: S603  # a command of our own
            [sys.executable, "-P", "-m", *command],
            env={**env, DEPLOY_FOLDER: str(Path.cwd())},
            cwd=empty,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )
    if done.returncode:
        raise ServerError(f"Prefect rejected the deployments: {' '.join(done.stderr.split()) or done.stdout}")


def _process_output(served: Served, *, as_json: bool, worker: bool) -> str:
    """Return what the command prints once everything runs."""
    if as_json:
        return json_document(describe_served(served, worker=worker))
    return next_steps(served, worker=worker)


def describe_served(served: Served, *, worker: bool) -> dict[str, str | list[str] | None]:
    """Return the addresses, the files and the root of a server as a JSON object.

    `auth` is None if the user supplied the credential.
    """
    return {
        "ui": served.address,
        "api": f"{served.address}/api",
        "work_pool": WORK_POOL if worker else None,
        "root": str(served.root),
        "auth": str(served.credential.file) if served.credential.file else None,
        "profiles": str(served.profiles),
        "unset": served.unset,
    }


def next_steps(served: Served, *, worker: bool) -> str:
    """Return the instructions to print for the user."""
    prefect = Path(sys.executable).with_name("prefect")
    shown = os.path.relpath(prefect) if prefect.is_relative_to(Path.cwd()) else prefect
    secret = (
        f"the content of {served.credential.file}" if served.credential.file else "your PREFECT_SERVER_API_AUTH_STRING"
    )
    unset = f"unset {' '.join(served.unset)}; " if served.unset else ""
    lines = [
        f"UI:       {served.address}, which asks once for a password: {secret}",
        f"prefect:  {unset}export PREFECT_PROFILES_PATH={shlex.quote(str(served.profiles))}",
        f"start:    {shown} deployment run mnist/on-demand --watch",
        f"files:    {served.root}",
        "Ctrl-C ends the server, the worker and its runs.",
    ]
    return "\n".join(lines if worker else [*lines[:2], "Ctrl-C ends the server."])


def _await_end(server: subprocess.Popen[bytes], worker: subprocess.Popen[bytes] | None = None) -> None:
    """Return once the worker has been killed.

    Raises:
        ServerError: If the server has ended, or the worker has ended otherwise.
    """
    while server.poll() is None and (worker is None or worker.poll() is None):
        time.sleep(0.5)
    if server.poll() is not None or (worker and worker.returncode >= 0):
        name = "worker" if server.poll() is None else "server"
        raise ServerError(f"the {name} has ended; its messages are above")
