"""Prefect's server with its UI and services, behind the guard.

`mnist serve`, the systemd unit and the compose file run `python -P -m flows.server.serving` in place of
`prefect server start`. It starts the same server, which answers only requests that `flows/server/guard.py` accepts.
"""
# ruff: noqa: PLC0415  # late imports, so that `--help` answers immediately

import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from flows.processes.console import Command, exit_with_one_line
from tasks.errors import InputError
from tasks.safety.redaction import redact_all_output

HOST: Callable[[Command], Command] = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="Address to bind; 0.0.0.0 for all interfaces.",
)


def port_option(cls: type[click.Option] = click.Option) -> Callable[[Command], Command]:
    """Return the option of the port to bind."""
    port = click.IntRange(1, 65535)
    return click.option(
        "--port", cls=cls, type=port, default=4200, show_default=True, metavar="N", help="Port to bind."
    )


ALLOWED: Callable[[Command], Command] = click.option(
    "--allowed-host",
    "allowed",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Additional name of the server, such as a proxy's. Repeatable.",
)


@click.command()
@HOST
@port_option()
@ALLOWED
@click.option(
    "--log-level", default="info", show_default=True, metavar="LEVEL", help="Lowest level of the messages to log."
)
@click.option("--fd", type=int, hidden=True, help="Socket to serve at, bound by the parent.")
def main(host: str, port: int, allowed: tuple[str, ...], log_level: str, fd: int | None) -> None:
    """Run a Prefect server with its UI that requires the credential."""
    redact_all_output()  # before any library logs
    os.environ.setdefault("PREFECT_UI_API_URL", "/api")  # relative to the address that the browser uses

    import uvicorn
    from prefect import settings
    from prefect.server.api.server import create_app

    from flows.processes.log_filters import mask_prefect_settings, shorten_database_errors
    from flows.processes.prefect_compat import lock_database_before_reading
    from flows.server.addresses import allowed_addresses, canonical
    from flows.server.credential import server_credential
    from flows.server.guard import Guard

    mask_prefect_settings()
    lock_database_before_reading()

    host = canonical(host)
    own, credential = allowed_addresses(host, port, allowed), server_credential()
    _require_database_address()
    changed: dict[Any, Any] = {
        settings.PREFECT_SERVER_API_AUTH_STRING: credential.value,
        settings.PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(sorted(own.origins)),
        settings.PREFECT_SERVER_LOGGING_LEVEL: log_level.upper(),
    }
    with settings.temporary_settings(changed):
        # Same options as `prefect server start`.
        config = uvicorn.Config(
            Guard(create_app(final=True), own, credential.value, ui=True),
            host=host,
            port=port,
            timeout_keep_alive=settings.PREFECT_SERVER_API_KEEPALIVE_TIMEOUT.value(),
            ws_ping_interval=settings.PREFECT_SERVER_API_WEBSOCKET_PING_INTERVAL.value(),
            ws_ping_timeout=settings.PREFECT_SERVER_API_WEBSOCKET_PING_TIMEOUT.value(),
            log_level=log_level.lower(),
        )
        shorten_database_errors()  # after the last change of the handlers
        # uvicorn logs this error for each WebSocket that the guard rejects with a response.
        unfinished = "ASGI callable returned without completing handshake."
        logging.getLogger("uvicorn.error").addFilter(lambda record: record.getMessage() != unfinished)
        server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):
            server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    if not server.started:
        sys.exit(1)  # the log says why


def _require_database_address() -> None:
    """Check the address of the server's database.

    Raises:
        InputError: If it is not valid.
    """
    from prefect import settings
    from prefect.server.utilities.database import get_dialect

    try:
        get_dialect(settings.PREFECT_API_DATABASE_CONNECTION_URL.value() or "")
    except Exception as error:  # of SQLAlchemy, whose text may quote a part of the password
        raise InputError(
            "PREFECT_API_DATABASE_CONNECTION_URL is not the address of a database, such as "
            "postgresql+asyncpg://USER:PASSWORD@HOST/NAME; correct it"
        ) from error


if __name__ == "__main__":
    with exit_with_one_line():
        main()
