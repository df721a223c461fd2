"""The one Prefect server of a run: the user's, or one that lives as long as the run.

Left to itself, Prefect starts a temporary server in the flow's process and another in each worker. Here, one child process
serves them all. It uses Prefect's own database, so that the history stays for a later `mnist serve`. It answers nobody but
this process and its workers, which alone know its random credential (`flows/server/guard.py`).

Run as a module, it is that child: it ends when its standard input does, however the parent ended.
"""
# ruff: noqa: PLC0415  # the child is started before anything slow is imported, most of which it has no use for

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from flows.processes.settings_files import writable_home
from flows.processes.startup import exclude_imports_from_gc
from flows.server.credential import client_settings, new_credential, setting_in_use
from tasks.errors import ServerError, causes
from tasks.safety.environment import fault_on_the_way_to, for_own_server
from tasks.safety.redaction import public_address
from tasks.safety.stopping import STOPPING

if TYPE_CHECKING:
    import httpx

_START_SECONDS = 180.0  # 25 s were seen on a slow machine at a first start, which makes the database
_STOP_SECONDS = 15.0
_DRAIN_SECONDS = 10.0
_HURRY_SECONDS = 1.0  # for either, once this process has been told to stop
_CHECK_SECONDS = 10.0
_PASSING = {408, 429, 500, 502, 503, 504}  # what Prefect's client tries again, or a later request may not get
_RESTARTS = 3  # a server that dies more often will not serve

_AUTH = "PREFECT_SERVER_API_AUTH_STRING"

# As Prefect's own temporary server has it; and what can't be reached without internet is not tried.
_CHILD_ENV = {
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "0",
    # Nobody asks this server for types of blocks; noting that it has them, it would keep the user's from ever having them.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",
}


# Servers of runs at once share one SQLite database: with ten of them on two cores, one was seen to be locked out for more than
# the minute that Prefect's 5 retries last.
# The user's timeout is for the user's server.
_RETRY_SETTINGS = {
    "PREFECT_CLIENT_MAX_RETRIES": os.environ.get("PREFECT_CLIENT_MAX_RETRIES", "7"),
    "PREFECT_API_REQUEST_TIMEOUT": "60",
    "PREFECT_API_ENABLE_HTTP2": "0",
}

LOCAL: set[str] = set()  # the APIs of servers that this process has started


class Api(NamedTuple):
    """The API that a run talks to; `own` if its server lives no longer than the run."""

    url: str
    own: bool
    credential: str = ""  # of a server of one's own; else Prefect's settings have it
    wait: Callable[[], None] = lambda: None  # until it answers
    end: Callable[[], None] = lambda: None

    def look_at(self, flow_run: UUID) -> str:
        """How to look at a run in the UI."""
        if self.own:
            return f"mnist serve --no-worker, then http://127.0.0.1:4200/runs/flow-run/{flow_run}"
        return f"{public_address(self.url.removesuffix('/api'))}/runs/flow-run/{flow_run}"


@contextmanager
def start_server() -> Iterator[Api | None]:
    """A server of this process's own, unless the environment names another; started at once, and not waited for.

    To import Prefect, and ask its settings, takes this process as long as the other half of the server's start.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield None
    else:
        with local_server() as local:
            yield local


@contextmanager
def server(early: Api | None) -> Iterator[Api]:
    """The API that this process and its workers use: the configured server's, else the early one's, which may be waited for.

    Raises:
        ServerError: the configured server does not answer.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    configured = PREFECT_API_URL.value()
    if early and not configured:
        # Nobody listens to the heartbeat of a run whose server goes with it, and to stop it takes up to a second.
        quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with api_settings(early.url, _RETRY_SETTINGS | client_settings(early.credential)), temporary_settings(quiet):
            yield early
        return
    if early:  # it is a profile of Prefect's that names another
        early.end()
    check_server(configured)
    try:
        yield Api(configured, own=False)
    finally:
        drain()


def check_server(url: str) -> None:
    """Ask the user's server for what every run asks it, as Prefect's client does, to see whether it lets us in.

    What may pass, such as an overloaded proxy, is left to the run, whose client tries again.

    Raises:
        ServerError: It does not answer, refuses the credential or this address of it, or is no Prefect server.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

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
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        remedy = "set PREFECT_API_SSL_CERT_FILE to its CA" if "CERTIFICATE_VERIFY" in str(error) else "start it"
        raise ServerError(
            f"no Prefect server answers at PREFECT_API_URL={public_address(url)} ({error}); {remedy}, or unset the variable"
        ) from error
    except (ValueError, TypeError) as error:  # no JSON, or another than Prefect's
        raise ServerError(_refusal_of(url, answers, "other content than Prefect's")) from error
    except OSError as error:
        file = PREFECT_API_SSL_CERT_FILE.value()
        raise ServerError(
            f"can't use PREFECT_API_SSL_CERT_FILE={file}: {error.strerror or error}; correct it"
        ) from error


def _refusal_of(url: str, answers: Sequence["httpx.Response"], what: str) -> str:
    """Say why the last of a server's answers is none that a run could use, and what to do."""
    last, place = answers[-1], public_address(url)
    redirect = next((one for one in answers if one.has_redirect_location), None)
    if last.status_code in {401, 403}:
        return f"the Prefect server at {place} {_credential_refused()}"
    if (
        last.status_code == 400
        and last.headers.get("Content-Type") == "application/json"
        and b"--allowed-host" in last.read()
    ):
        return f"the Prefect server at {place} refuses this address of it: start it with --allowed-host"
    if redirect:
        leads = public_address(str(redirect.url.join(redirect.headers["Location"])))
        return f"{place} redirects to {leads} instead of answering as a Prefect server: set PREFECT_API_URL to where its API is"
    return f"there is no Prefect server at {place}, which answers with {what}: PREFECT_API_URL mostly ends in /api"


def _credential_refused() -> str:
    """Say which setting has the credential that was refused: one may hide another."""
    found = setting_in_use(os.environ)
    if found is None:
        return (
            "requires authentication: set PREFECT_API_AUTH_STRING=user:password, or for `mnist serve` the "
            "PREFECT_PROFILES_PATH that it prints"
        )
    name, exported = found
    if exported:
        return f"refuses the credential of {name}, which the environment sets, whatever a profile says: correct or unset it"
    return f"refuses the credential of {name}, which Prefect's profile sets: correct it there, or set PREFECT_PROFILES_PATH"


@contextmanager
def local_server() -> Iterator[Api]:
    """Run a server in a child process, and stop it in the end; to wait for it may raise a ServerError.

    This process holds the socket: when the child dies, another takes its place, and whoever has called meanwhile is answered.

    Raises:
        SettingsError: Prefect's home can't be written.
    """
    writable_home()
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryFile() as said:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        credential = new_credential()
        children = [_spawn_server(listener, said, credential)]
        keeper = threading.Thread(
            target=_restart_on_exit, args=(children, listener, said, credential, over), daemon=True
        )

        def wait() -> None:
            if not wait_until_healthy(url, children[0]):
                raise ServerError(f"the local Prefect server did not come up: {_last_line(said)}")
            keeper.start()

        def end() -> None:
            LOCAL.discard(url)
            over.set()
            stop_server(children[-1], _in_time(_STOP_SECONDS))
            if keeper.is_alive():
                keeper.join()
                stop_server(children[-1])  # where one has just taken another's place

        LOCAL.add(url)
        try:
            yield Api(url, own=True, credential=credential, wait=wait, end=end)
        finally:
            end()


def _spawn_server(listener: socket.socket, said: IO[bytes], credential: str) -> subprocess.Popen[bytes]:
    """A process that serves at a socket those who have the credential."""
    return subprocess.Popen(  # noqa: S603  # this module
        [sys.executable, "-P", "-m", "flows.server.local_server", str(listener.fileno())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env=for_own_server(os.environ)
        | _CHILD_ENV
        | {_AUTH: credential},  # which other accounts can't read, as they can arguments
        pass_fds=[listener.fileno()],
        start_new_session=True,  # Ctrl-C is for the flow, which then says its last to the server
    )


def _restart_on_exit(
    children: list[subprocess.Popen[bytes]],
    listener: socket.socket,
    said: IO[bytes],
    credential: str,
    over: threading.Event,
) -> None:
    """Start another child when one dies, until all is over, or too many have died."""
    while children[-1].wait() is not None and not over.is_set() and not STOPPING.is_set():
        if len(children) > _RESTARTS:
            return
        logging.getLogger("flows.server.local_server").warning(
            "the local Prefect server has died, and is started again"
        )
        children.append(_spawn_server(listener, said, credential))


def describe_connection_error(error: BaseException | None) -> str | None:
    """A line for the user if an error, or what has led to it, is that the server does not answer any more."""
    import httpx

    for one in causes(error):
        if isinstance(one, httpx.TransportError | httpx.HTTPStatusError):
            why = str(one).split("\n", maxsplit=1)[0] or type(one).__name__
            return f"the Prefect server has gone or fails ({why}); run again: what was finished is found"
    return None


def wait_until_healthy(url: str, child: subprocess.Popen[bytes]) -> bool:
    """Wait for a server's API to answer; False if its process ends before, or it takes too long."""
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


def _last_line(said: IO[bytes]) -> str:
    """The last error that a process has named, or where to look for it."""
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return named[-1] if named else "see what `mnist serve --no-worker` says"


def stop_server(child: subprocess.Popen[bytes], seconds: float = _STOP_SECONDS) -> None:
    """Ask a child that ends with its standard input to end, and see to it that it does."""
    assert child.stdin  # noqa: S101  # it was asked for
    child.stdin.close()
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def api_settings(url: str, settings: Mapping[str, str] | None = None) -> Iterator[None]:
    """Let this process, all its threads, and its child processes talk to the API at `url`, with other settings of Prefect's."""
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
    """Send what travels in the background, logs and events, while the server is there and the console still filtered."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=_in_time(_DRAIN_SECONDS), at_exit=False)


def _in_time(seconds: float) -> float:
    """As long as this may take, or what is left of the time once the process has been told to stop."""
    return _HURRY_SECONDS if STOPPING.is_set() else seconds


def _run_server(fileno: int) -> None:
    """Be the server: serve at an open socket until standard input ends."""
    listener = socket.socket(fileno=fileno)
    host, port = listener.getsockname()
    with exclude_imports_from_gc():
        import uvicorn
        from prefect import settings
        from prefect.server.api.server import create_app

        from flows.server.database import database_file, make_database, may_have_automations
        from flows.server.guard import Guard, allowed_addresses

        own, credential = allowed_addresses(host, port), os.environ[_AUTH]
        # Whatever the user's profile says of another server.
        changed: dict[Any, Any] = {
            settings.PREFECT_SERVER_API_AUTH_STRING: credential,
            settings.PREFECT_SERVER_API_BASE_PATH: "/api",
            settings.PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(sorted(own.origins)),
            settings.PREFECT_SERVER_CSRF_PROTECTION_ENABLED: False,  # that of sessions, of which there is none
            # Even to find that there is nothing to do, its migrations take a tenth of the start.
            settings.PREFECT_API_DATABASE_MIGRATE_ON_START: not make_database()
            and (settings.PREFECT_API_DATABASE_MIGRATE_ON_START.value() or database_file() is not None),
            # Without automations, what carries them out has nothing to do, and takes a sixth of the start.
            settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: settings.PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED.value()
            and may_have_automations(),
        }
        with settings.temporary_settings(changed):
            app = create_app(ephemeral=True, final=True)
    guarded = Guard(app, own, credential, ui=False)
    web = uvicorn.Server(uvicorn.Config(guarded, log_level="error", lifespan="on"))

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        web.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    with settings.temporary_settings(changed):
        web.run(sockets=[listener])


if __name__ == "__main__":
    _run_server(int(sys.argv[1]))
