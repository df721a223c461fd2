"""The server that PREFECT_API_URL names, checked before a command imports Prefect or writes anything.

These checks take milliseconds. `flows.server.local_server.check_server` later sends a request with Prefect's client,
which also needs its credential.
"""

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from flows.processes.settings_files import prefect_home, settings_files
from tasks.errors import ServerError
from tasks.safety.address import fault_of_url
from tasks.safety.redaction import public_address

_URL = "PREFECT_API_URL"
_CONNECT_SECONDS = 2.0  # a server that is slower is asked again by Prefect's client
_PORTS = {"http": 80, "https": 443}


def require_configured_server() -> None:
    """Check the server that the environment names, if it names one.

    Raises:
        ServerError: If the address is invalid, or no server can be connected to.
    """
    if url := os.environ.get(_URL):
        require_valid_url(url)
        _require_connection(url)


def require_any_server() -> None:
    """Check the server that the environment names, or that a settings file of Prefect may name.

    Raises:
        ServerError: As `require_configured_server`, or if there is no server.
    """
    require_configured_server()
    home = prefect_home()
    if not os.environ.get(_URL) and not any(path.exists() for path in settings_files() if path != home):
        raise no_server()


def no_server() -> ServerError:
    """Return the error of a worker without a server."""
    return ServerError(f"a worker needs a Prefect server: set {_URL}, or use `mnist serve`, which starts a server")


def require_valid_url(url: str) -> None:
    """Reject an address of the API that is not a URL, without the text of a parser, which may quote a password.

    Raises:
        ServerError: If the address is invalid.
    """
    fault = fault_of_url(url)
    parts = urlsplit(url) if not fault else urlsplit("")
    # With an @ after the host, it is unclear where the password ends, and a part of it may count as the host.
    if parts.scheme not in _PORTS or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ServerError(
            f"{_URL}={public_address(url)} is not an address such as http://HOST:4200/api; correct it, and write "
            "special characters of a password as %XX"
        )


def _require_connection(url: str) -> None:
    """Connect to a server, and leave everything but a refusal, and servers behind a proxy, to Prefect's client."""
    parts = urlsplit(url)
    if {parts.scheme, "all"} & getproxies().keys() and not proxy_bypass(parts.hostname or ""):
        return
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), _CONNECT_SECONDS).close()
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise unreachable_server(url, error.strerror or str(error), "start it") from error
    except OSError:
        return


def unreachable_server(url: str, reason: str, remedy: str) -> ServerError:
    """Return the error of a server that does not answer."""
    return ServerError(
        f"no Prefect server answers at {_URL}={public_address(url)} ({reason}); {remedy}, or unset the variable"
    )
