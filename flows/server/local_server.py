"""The Prefect server of a run: the user's server, or a local server that lives as long as the run.

By default, Prefect starts a temporary server in the flow's process and another one in each worker. Here, a single child
process serves all of them. It uses Prefect's own database, so that a later `mnist serve` shows the history. It answers
only this process and its workers, which alone know its random credential (`flows/server/guard.py`).

The child process runs this module as a script. It ends when its standard input ends, regardless of how the parent
ended.
"""
# ruff: noqa: PLC0415  # late imports: the child starts before any slow import, and needs few of them

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from flows.processes.parent import call_at_parent_exit
from flows.processes.prefect_compat import TEMPORARY_SERVER, drain_queues, lock_database_before_reading
from flows.processes.settings_files import require_writable_home
from flows.processes.startup import exclude_imports_from_gc
from flows.server.configured_server import require_valid_url, unreachable_server
from flows.server.credential import client_settings, new_credential, setting_in_use
from tasks.errors import ServerError, causes, last_error
from tasks.safety.environment import fault_on_the_way_to, for_own_server
from tasks.safety.redaction import public_address
from tasks.safety.stopping import STOPPING
from tasks.schemas.names import LOCAL_UI

if TYPE_CHECKING:
    import httpx

_START_SECONDS = 180.0  # a first start, which creates the database, took 25 s on a slow machine
_STOP_SECONDS = 15.0
_DRAIN_SECONDS = 10.0
_HURRY_SECONDS = 1.0  # replaces both limits once this process has been asked to stop
_CHECK_SECONDS = 10.0
_PASSING = {408, 429, 500, 502, 503, 504}  # statuses that Prefect's client retries, or that may be temporary
_RESTARTS = 3  # a server that dies more often is considered broken

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"

# Settings of Prefect's own temporary server; analytics is off because it needs internet access.
_CHILD_ENV = {
    **TEMPORARY_SERVER,
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
    # No client requests block types from this server. If it recorded their registration, the user's server would never
    # register them.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",
}


# Servers of concurrent runs share one SQLite database. With ten of them on two cores, one server was locked out for
# longer than the minute that Prefect's 5 retries last.
# The user's timeout applies to the user's server only.
_RETRY_SETTINGS = {
    "PREFECT_CLIENT_MAX_RETRIES": os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "7"),
    "PREFECT_API_REQUEST_TIMEOUT": "60",
    "PREFECT_API_ENABLE_HTTP2": "0",
}
_UI = {"PREFECT_UI_URL": LOCAL_UI}  # the server has none; Prefect logs the address of the run there

LOCAL: set[str] = set()  # API URLs of the servers that this process has started


class Api(NamedTuple):
    """The API that a run uses."""

    url: str
    credential: str = ""  # of a local server; otherwise, Prefect's settings contain it
    wait: Callable[[], None] = lambda: None  # blocks until the server answers
    end: Callable[[], None] = lambda: None


@contextmanager
def start_server() -> Iterator[Api | None]:
    """Start a local server without waiting for it, unless the environment names another server.

    While the server starts, this process imports Prefect and reads its settings, which takes half as long.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield None
    else:
        with local_server() as local:
            yield local


@contextmanager
def server(early: Api | None) -> Iterator[Api]:
    """Yield the API that this process and its workers use.

    It is the API of the configured server, otherwise that of the early server, which may not answer yet (`Api.wait`).

    Raises:
        ServerError: If the configured server does not answer.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    configured = PREFECT_API_URL.value()
    if early and not configured:
        # A server that ends with its run needs no heartbeat, and stopping the heartbeat takes up to a second.
        quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with (
            api_settings(early.url, _RETRY_SETTINGS | _UI | client_settings(early.credential)),
            temporary_settings(quiet),
        ):
            yield early
        return
    if early:  # a Prefect profile names another server
        early.end()
    check_server(configured)
    try:
        yield Api(configured)
    finally:
        drain()


def check_server(url: str) -> None:
    """Check that the user's server accepts this process.

    Prefect's client sends it a request that every run sends. Temporary failures, such as an overloaded proxy, are left
    to the run, whose client retries.

    Raises:
        ServerError: If the server does not answer, rejects the credential or the address, or is not a Prefect server.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from tasks.data.http_errors import http_reason

    require_valid_url(url)
    if fault := fault_on_the_way_to(url):
        raise ServerError(f"can't reach the Prefect server at PREFECT_API_URL={public_address(url)}: {fault}")
    answers: list[httpx.Response] = []
    asking: dict[str, Any] = {"timeout": _CHECK_SECONDS, "event_hooks": {"response": [answers.append]}}
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(httpx_settings=asking, sync_client=True) as client,
        ):
            client.read_flows(limit=1)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _PASSING:
            raise ServerError(_refusal_of(url, answers, f"HTTP {error.response.status_code}")) from error
    except httpx.HTTPError as error:
        remedy = "set PREFECT_API_SSL_CERT_FILE to its CA" if "CERTIFICATE_VERIFY" in str(error) else "start it"
        raise unreachable_server(url, http_reason(error), remedy) from error
    except httpx.InvalidURL:  # its text may quote part of a password, and so would the traceback of a cause
        raise ServerError(
            f"can't reach the Prefect server at PREFECT_API_URL={public_address(url)}: the address of a redirect or of "
            "the proxy set in the environment is not valid; correct it"
        ) from None
    except (ValueError, TypeError) as error:  # not JSON, or not the JSON of Prefect's API
        raise ServerError(_refusal_of(url, answers, "content that is not Prefect's")) from error
    except OSError as error:
        file = PREFECT_API_SSL_CERT_FILE.value()
        raise ServerError(
            f"can't use PREFECT_API_SSL_CERT_FILE={file}: {error.strerror or error}; correct it"
        ) from error


def _refusal_of(url: str, answers: Sequence["httpx.Response"], what: str) -> str:
    """Return why a run can't use a server, judged by its last answer, and what to do."""
    last, place = answers[-1], public_address(url)
    redirect = next((one for one in answers if one.has_redirect_location), None)
    if last.status_code in {401, 403}:
        return f"the Prefect server at {place} {_credential_refused()}"
    if (
        last.status_code == 400
        and last.headers.get("Content-Type") == "application/json"
        and b"--allowed-host" in last.read()
    ):
        return f"the Prefect server at {place} rejects this address: start it with --allowed-host"
    if redirect:
        leads = public_address(str(redirect.url.join(redirect.headers["Location"])))
        return (
            f"{place} redirects to {leads} instead of answering as a Prefect server: set PREFECT_API_URL to the "
            "address of its API"
        )
    return f"there is no Prefect server at {place}, which answers with {what}: PREFECT_API_URL usually ends in /api"


def _credential_refused() -> str:
    """Return which setting holds the rejected credential; a setting may hide another one."""
    found = setting_in_use(os.environ)
    if found is None:
        return (
            "requires authentication: set PREFECT_API_AUTH_STRING=user:password, or for `mnist serve` the "
            "PREFECT_PROFILES_PATH that it prints"
        )
    name, exported = found
    if exported:
        return (
            f"rejects the credential in {name}, which the environment sets, overriding any profile: correct or unset it"
        )
    return (
        f"rejects the credential in {name}, which Prefect's profile sets: correct it there, or set "
        "PREFECT_PROFILES_PATH"
    )


@contextmanager
def local_server() -> Iterator[Api]:
    """Run a server in a child process, and stop it at the end; the `wait` of the API may raise a ServerError.

    This process holds the listening socket. If the child dies, another child takes over the socket and answers the
    pending requests.

    Raises:
        SettingsError: If Prefect's home can't be written.
    """
    require_writable_home()
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile() as output:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        credential = new_credential()
        children = [_spawn_server(listener, output, credential)]
        keeper = threading.Thread(
            target=_restart_on_exit, args=(children, listener, output, credential, over), daemon=True
        )

        def wait() -> None:
            if not wait_until_healthy(url, children[0]):
                raise ServerError(f"the local Prefect server did not start: {_last_line(output)}")
            keeper.start()

        def end() -> None:
            LOCAL.discard(url)
            over.set()
            stop_server(children[-1], _in_time(_STOP_SECONDS))
            if keeper.is_alive():
                keeper.join()
                stop_server(children[-1])  # a child that was started in the meantime

        LOCAL.add(url)
        try:
            yield Api(url, credential=credential, wait=wait, end=end)
        finally:
            end()


def _spawn_server(listener: socket.socket, output: IO[bytes], credential: str) -> subprocess.Popen[bytes]:
    """Start a process that serves at a socket and accepts only clients with the credential."""
    return subprocess.Popen(  # noqa: S603  # fixed arguments: this module
        [sys.executable, "-P", "-m", "flows.server.local_server", str(listener.fileno())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=output,
        env=for_own_server(os.environ)
        | _CHILD_ENV
        | {_AUTH: credential},  # in the environment: other accounts can read arguments
        pass_fds=[listener.fileno()],
        start_new_session=True,  # Ctrl-C must reach only the flow, which then sends its final state to the server
    )


def _restart_on_exit(
    children: list[subprocess.Popen[bytes]],
    listener: socket.socket,
    output: IO[bytes],
    credential: str,
    over: threading.Event,
) -> None:
    """Start another child whenever a child dies, until the server is stopped or too many children have died."""
    while children[-1].wait() is not None and not over.is_set() and not STOPPING.is_set():
        if len(children) > _RESTARTS:
            return
        logging.getLogger("flows.server.local_server").warning(
            "the local Prefect server has died; starting another one"
        )
        children.append(_spawn_server(listener, output, credential))


def describe_connection_error(error: BaseException | None) -> str | None:
    """Return a line for the user if the cause of an error is a server that no longer answers; otherwise None."""
    import httpx

    from tasks.data.http_errors import http_reason

    for one in causes(error):
        if isinstance(one, httpx.InvalidURL):
            return (
                "the address in PREFECT_API_URL, of a redirect, or of the proxy set in the environment is not valid; "
                "correct it"
            )
        if isinstance(one, httpx.TransportError | httpx.HTTPStatusError):
            why = http_reason(one).split("\n", maxsplit=1)[0]
            return f"the Prefect server is unreachable or failing ({why}); run again: finished steps are cached"
    return None


def wait_until_healthy(url: str, child: subprocess.Popen[bytes]) -> bool:
    """Wait for a server's API to answer; return False if its process ends first or the time limit is over."""
    import httpx

    limit = time.monotonic() + _START_SECONDS
    while child.poll() is None and time.monotonic() < limit:
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return True
        except (httpx.TransportError, httpx.InvalidURL):
            pass
        time.sleep(0.1)
    return False


def _last_line(output: IO[bytes]) -> str:
    """Return the last error that a process has printed, or a hint on where to look for it."""
    output.seek(0)
    return last_error(output.read().decode(errors="replace")) or "see the messages of `mnist serve --no-worker`"


def stop_server(child: subprocess.Popen[bytes], seconds: float = _STOP_SECONDS) -> None:
    """Ask a child process to end by closing its standard input, and kill it after a time limit."""
    assert child.stdin  # noqa: S101  # opened with PIPE
    child.stdin.close()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def api_settings(url: str, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Set the API URL and other Prefect settings for this process, all its threads, and its child processes."""
    from prefect.context import refresh_global_settings_context

    changed = {"PREFECT_API_URL": url, **(settings or {})}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    refresh_global_settings_context()
    try:
        yield
    finally:
        drain()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        refresh_global_settings_context()


def drain() -> None:
    """Send the logs and events that are queued in the background.

    The caller does so while the server still answers and the console is still filtered.
    """
    drain_queues(lambda: _in_time(_DRAIN_SECONDS))


def _in_time(seconds: float) -> float:
    """Return a time limit, shortened once this process has been asked to stop."""
    return _HURRY_SECONDS if STOPPING.is_set() else seconds


def _run_server(fileno: int) -> None:
    """Serve at an open socket until standard input ends."""
    listener = socket.socket(fileno=fileno)
    host, port = listener.getsockname()
    with exclude_imports_from_gc():
        lock_database_before_reading()
        import uvicorn
        from prefect import settings
        from prefect.server.api.server import create_app

        from flows.server.addresses import allowed_addresses
        from flows.server.database import database_file, make_database, may_have_automations
        from flows.server.guard import Guard

        own, credential = allowed_addresses(host, port), os.environ[_AUTH]
        # Override the user's profile, which may describe another server.
        changed: dict[Any, Any] = {
            settings.PREFECT_SERVER_API_AUTH_STRING: credential,
            settings.PREFECT_SERVER_API_BASE_PATH: "/api",
            settings.PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(sorted(own.origins)),
            settings.PREFECT_SERVER_CSRF_PROTECTION_ENABLED: False,  # it protects sessions; there are none
            # Prefect's migrations take a tenth of the start even if there is nothing to migrate.
            settings.PREFECT_API_DATABASE_MIGRATE_ON_START: not make_database()
            and (settings.PREFECT_API_DATABASE_MIGRATE_ON_START.value() or database_file() is not None),
            # Without automations, the service that runs them is not needed; it takes a sixth of the start.
            settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED.value()
            and may_have_automations(),
        }
        with settings.temporary_settings(changed):
            app = create_app(ephemeral=True, final=True)
    guarded = Guard(app, own, credential, ui=False)
    web = uvicorn.Server(uvicorn.Config(guarded, log_level="error", lifespan="on"))

    def stop_serving() -> None:
        web.should_exit = True

    call_at_parent_exit(stop_serving)
    with settings.temporary_settings(changed):
        web.run(sockets=[listener])


if __name__ == "__main__":
    _run_server(int(sys.argv[1]))
