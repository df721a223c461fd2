"""Guard: the outermost layer of each Prefect server that this project starts, for HTTP and for WebSockets.

A request passes if its `Host` is an address of the server, if no page of another origin has sent it, if its body is declared as
JSON, and if it carries the credential, which only the UI's static files and the two health checks do without.

Starlette's `TrustedHostMiddleware` looks at no port and takes the first of several `Host` headers; Prefect's own check of the
credential leaves out `/docs`, and Prefect's API takes a body without a `Content-Type` as JSON.
"""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Message, Receive, Scope, Send

from tasks.errors import InputError
from tasks.safety.redaction import public_address

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # names to compare with
_NAMED = re.compile(r"(?P<name>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}))?")
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_HEALTH = ("/health", "/ready")
_SUBPROTOCOL = "prefect"  # after which Prefect's clients send the credential as their first message
_POLICY_VIOLATION = 1008
HANDSHAKE_SECONDS = 10.0  # for a client to send the credential; Prefect's does so at once
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Addresses(NamedTuple):
    """What a server is called: its `Host` headers, and the origins of its own pages; all of it in lower case."""

    hosts: frozenset[str]
    origins: frozenset[str]


class Refusal(NamedTuple):
    """An answer to a request that does not pass."""

    status: int
    text: str


def allowed_addresses(host: str, port: int, allowed: Iterable[str] = ()) -> Addresses:
    """List the addresses of a server that is bound to `host` and `port`; `allowed` are more names of it, as HOST or HOST:PORT.

    A name without a port stands for the server's own port and for the standard ones, where a proxy answers.

    Raises:
        InputError: A name is not HOST or HOST:PORT.
    """
    hosts = {f"{name}:{port}" for name in _host_names(host)}
    if port == 80:  # browsers leave it out
        hosts |= _host_names(host)
    origins = {f"http://{one}" for one in hosts}
    for text in allowed:
        found = _NAMED.fullmatch(text.lower())
        if not found:
            raise InputError(
                f"--allowed-host takes HOST or HOST:PORT, such as mnist.example.org, not {public_address(text)!r}"
            )
        name = found["name"]
        if found["port"]:
            hosts |= {f"{name}:{found['port']}"} | ({name} if found["port"] in {"80", "443"} else set())
            origins |= {f"{scheme}://{name}:{found['port']}" for scheme in ("http", "https")}
            origins |= {"80": {f"http://{name}"}, "443": {f"https://{name}"}}.get(found["port"], set())
        else:
            hosts |= {name, f"{name}:80", f"{name}:443", f"{name}:{port}"}
            origins |= {f"https://{name}", f"http://{name}:{port}"}
    return Addresses(frozenset(hosts), frozenset(origins))


def canonical(host: str) -> str:
    """Write a host as it is resolved and as clients send it: an address in its shortest form, a name in ASCII.

    Raises:
        InputError: No URL can hold it.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = str(socket.getaddrinfo(bare, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        try:
            return bare.encode("idna").decode().lower()
        except UnicodeError as error:
            raise InputError(f"--host takes an address or the name of this machine, not {host!r}") from error
    if "%" in bare:
        raise InputError(f"--host {host}: an address with a zone can't stand in a URL; give :: or another address")
    address = ipaddress.ip_address(found)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _host_names(host: str) -> set[str]:
    """List the names under which a bound address is reached: one of all interfaces under each of theirs."""
    name = in_url(host.lower())
    if name in LOOPBACK:
        return set(LOOPBACK)
    if host not in _WILDCARDS:
        return {name}
    found = {one.address for each in psutil.net_if_addrs().values() for one in each if one.family in _INTERNET}
    return {*LOOPBACK, socket.gethostname().lower(), *(in_url(one) for one in found if "%" not in one)}


def in_url(host: str) -> str:
    """Write a host as it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


class Guard:
    """Prefect's application for those who may use it.

    Without `ui`, the static files need the credential, too.
    """

    def __init__(self, app: FastAPI, own: Addresses, credential: str, *, ui: bool) -> None:
        self.app, self.own, self.credential, self.ui = app, own, credential.encode(), ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it to Prefect."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        answer = _with_headers(send)
        refusal = next(self.refusals(scope), None)
        if refusal:
            response = JSONResponse({"exception_message": refusal.text}, refusal.status)
            await response(scope, receive, answer)
        elif scope["type"] == "websocket" and not self.is_known(Headers(scope=scope)):
            handshake = Handshake(self.credential, receive, answer)
            await self.app(scope, handshake.receive, handshake.send)
        else:
            await self.app(scope, receive, answer)

    def refusals(self, scope: Scope) -> Iterator[Refusal]:
        """Give the reasons to refuse a request, the first of which counts."""
        headers = Headers(scope=scope)
        if not scope["path"].startswith("/"):
            yield Refusal(400, "the target of a request is a path of this server")
        if [one.lower() in self.own.hosts for one in headers.getlist("host")] != [True]:
            yield Refusal(400, "the Host header is no address of this server: --allowed-host HOST would make it one")
        if not self.is_own_page(scope, headers):
            yield Refusal(403, "a page of another origin may not use this server")
        if _has_body(headers) and not _is_json(headers):
            yield Refusal(415, "a body needs one header Content-Type: application/json")
        if scope["type"] == "websocket":
            if not self.is_known(headers) and _SUBPROTOCOL not in scope["subprotocols"]:
                yield Refusal(401, "Unauthorized")
        elif not self.is_known(headers) and not self.is_open(scope):
            yield Refusal(401, "Unauthorized")

    def is_own_page(self, scope: Scope, headers: Headers) -> bool:
        """Say whether a request comes from no page, from one of the server's own, or follows a link into the UI."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if origins and (len(origins) > 1 or origins[0].lower() not in self.own.origins):
            return False
        if all(site in {"same-origin", "none"} for site in sites):
            return True
        place = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
        return scope["type"] == "http" and place == ("navigate", "document") and self.is_of_ui(scope)

    def is_open(self, scope: Scope) -> bool:
        """Say whether a request needs no credential."""
        if self.is_of_ui(scope):
            return self.ui
        route, child = self.route(scope)
        of_api = isinstance(route, Mount) and route.name == "api"
        return scope["method"] == "GET" and of_api and scope["path"].removeprefix(child["root_path"]) in _HEALTH

    def is_of_ui(self, scope: Scope) -> bool:
        """Say whether a request reads a file of the UI."""
        route, _ = self.route(scope)
        return scope["method"] in {"GET", "HEAD"} and isinstance(route, Mount) and route.name == "ui"

    def route(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Find the part of the application that answers a request, as the application itself does: no path is read twice."""
        for route in self.app.routes:
            match, child = route.matches(scope)
            if match is not Match.NONE:
                return route, child
        return None, {}

    def is_known(self, headers: Headers) -> bool:
        """Say whether a request carries the credential, in one header."""
        given = headers.getlist("authorization")
        scheme, _, encoded = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):  # the latter where it is not ASCII
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(decoded, self.credential)


class Handshake:
    """A WebSocket whose client says the credential in its first message, in time: until then, nothing passes either way."""

    def __init__(self, credential: bytes, receive: Receive, send: Send) -> None:
        self.credential, self._receive, self._send = credential, receive, send
        self.known, self.limit = False, asyncio.get_running_loop().time() + HANDSHAKE_SECONDS

    async def receive(self) -> Message:
        """Receive a message; the connection is closed where the first one is not the credential, or does not come in time."""
        if self.known:
            return await self._receive()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self.limit):
                message = await self._receive()
            self.known = self.is_credential(message.get("text"))
            if self.known or message["type"] != "websocket.receive":
                return message
        await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "Unauthorized"})
        return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}

    async def send(self, message: Message) -> None:
        """Send a message, if the client may have it."""
        if self.known or message["type"] != "websocket.send":
            await self._send(message)

    def is_credential(self, text: str | None) -> bool:
        """Say whether a message is Prefect's `auth` message with the credential."""
        try:
            said = json.loads(text or "null")
        except (ValueError, RecursionError):
            return False
        token = said.get("token") if isinstance(said, dict) and said.get("type") == "auth" else None
        return isinstance(token, str) and hmac.compare_digest(token.encode(errors="surrogatepass"), self.credential)


def _has_body(headers: Headers) -> bool:
    """Say whether a request announces a body."""
    return "transfer-encoding" in headers or any(one != "0" for one in headers.getlist("content-length"))


def _is_json(headers: Headers) -> bool:
    """Say whether a body is declared as JSON, which no form and no request without a preflight can do."""
    given = headers.getlist("content-type")
    return len(given) == 1 and given[0].partition(";")[0].strip().lower() == "application/json"


def _with_headers(send: Send) -> Send:
    """Send answers that no other page may frame, guess the type of, or learn addresses from."""

    async def sent(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in _HEADERS.items():
                headers[name] = value
            message = {**message, "headers": headers.raw}
        await send(message)

    return sent
