"""The outermost ASGI layer of each Prefect server that this project starts, for HTTP and WebSockets.

A request passes if its `Host` is an address of the server, if it does not come from a page of another origin, if its
body is declared as JSON, and if it carries the credential. Only the UI's static files and the two health checks need no
credential.

Starlette's `TrustedHostMiddleware` ignores the port and reads only the first of several `Host` headers. Prefect's own
check of the credential does not cover `/docs`, and Prefect's API reads a body without a `Content-Type` as JSON.
"""

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Message, Receive, Scope, Send

from flows.server.addresses import Addresses
from tasks.errors import last_error

_HEALTH = ("/health", "/ready")
_SUBPROTOCOL = "prefect"  # with this subprotocol, Prefect's clients send the credential as their first message
_POLICY_VIOLATION = 1008
HANDSHAKE_SECONDS = 10.0  # limit for the client's credential; Prefect's clients send it immediately
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refusal(NamedTuple):
    """The status and text of the answer to a rejected request."""

    status: int
    text: str


class Guard:
    """ASGI application that passes only permitted requests to Prefect's application.

    Without `ui`, the static files also require the credential.
    """

    def __init__(self, app: FastAPI, own: Addresses, credential: str, *, ui: bool) -> None:
        self.app, self.own, self.credential, self.ui = app, own, credential.encode(), ui

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it to Prefect."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, _with_short_failure(send))
            return
        answer = _with_headers(send)
        refusal = next(self.refusals(scope), None)
        if refusal:
            response = JSONResponse({"exception_message": refusal.text}, refusal.status)
            await response(scope, receive, answer)
        elif scope["type"] == "websocket" and not self.has_credential(Headers(scope=scope)):
            handshake = Handshake(self.credential, receive, answer)
            await self.app(scope, handshake.receive, handshake.send)
        else:
            await self.app(scope, receive, answer)

    def refusals(self, scope: Scope) -> Iterator[Refusal]:
        """Yield the reasons to reject a request; the first reason becomes the answer."""
        headers = Headers(scope=scope)
        if not scope["path"].startswith("/"):
            yield Refusal(400, "the request target must be a path of this server")
        if [one.lower() in self.own.hosts for one in headers.getlist("host")] != [True]:
            yield Refusal(400, "the Host header is not an address of this server: allow it with --allowed-host HOST")
        if not self.is_own_page(scope, headers):
            yield Refusal(403, "a page of another origin may not use this server")
        if _has_body(headers) and not _is_json(headers):
            yield Refusal(415, "a body requires exactly one header Content-Type: application/json")
        if scope["type"] == "websocket":
            if not self.has_credential(headers) and _SUBPROTOCOL not in scope["subprotocols"]:
                yield Refusal(401, "Unauthorized")
        elif not self.has_credential(headers) and not self.is_open(scope):
            yield Refusal(401, "Unauthorized")

    def is_own_page(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a request comes from no page, from the server's own pages, or from a link into the UI."""
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        if origins and (len(origins) > 1 or origins[0].lower() not in self.own.origins):
            return False
        if all(site in {"same-origin", "none"} for site in sites):
            return True
        place = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
        return scope["type"] == "http" and place == ("navigate", "document") and self.is_ui_file(scope)

    def is_open(self, scope: Scope) -> bool:
        """Return whether a request needs no credential."""
        if self.is_ui_file(scope):
            return self.ui
        route, child = self.route(scope)
        of_api = isinstance(route, Mount) and route.name == "api"
        return scope["method"] == "GET" and of_api and scope["path"].removeprefix(child["root_path"]) in _HEALTH

    def is_ui_file(self, scope: Scope) -> bool:
        """Return whether a request reads a file of the UI."""
        route, _ = self.route(scope)
        return scope["method"] in {"GET", "HEAD"} and isinstance(route, Mount) and route.name == "ui"

    def route(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Return the route that answers a request, and its child scope, matched in the way the application matches it.

        The guard thus never interprets a path differently from the application.
        """
        for route in self.app.routes:
            match, child = route.matches(scope)
            if match is not Match.NONE:
                return route, child
        return None, {}

    def has_credential(self, headers: Headers) -> bool:
        """Return whether a request carries the credential in exactly one `Authorization` header."""
        given = headers.getlist("authorization")
        scheme, _, encoded = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):  # ValueError if the text is not ASCII
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(decoded, self.credential)


class Handshake:
    """A WebSocket whose client must send the credential as its first message, within HANDSHAKE_SECONDS.

    Until then, no other data passes in either direction.
    """

    def __init__(self, credential: bytes, receive: Receive, send: Send) -> None:
        self.credential, self._receive, self._send = credential, receive, send
        self.known, self.limit = False, asyncio.get_running_loop().time() + HANDSHAKE_SECONDS

    async def receive(self) -> Message:
        """Receive a message.

        The connection is closed if the first message is not the credential or does not arrive in time.
        """
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
        """Send a message; drop data for a client that has not sent the credential."""
        if self.known or message["type"] != "websocket.send":
            await self._send(message)

    def is_credential(self, text: str | None) -> bool:
        """Return whether a message is Prefect's `auth` message with the credential."""
        try:
            message = json.loads(text or "null")
        except (ValueError, RecursionError):
            return False
        token = message.get("token") if isinstance(message, dict) and message.get("type") == "auth" else None
        return isinstance(token, str) and hmac.compare_digest(token.encode(errors="surrogatepass"), self.credential)


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or any(one != "0" for one in headers.getlist("content-length"))


def _is_json(headers: Headers) -> bool:
    """Return whether a body is declared as JSON.

    Neither a form nor a cross-origin request without a preflight can declare it so.
    """
    given = headers.getlist("content-type")
    return len(given) == 1 and given[0].partition(";")[0].strip().lower() == "application/json"


def _with_short_failure(send: Send) -> Send:
    """Replace the traceback of an application that can't start with the line that names the error."""

    async def shortened(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            reason = last_error(message.get("message", "")) or "no reason given"
            message = {
                **message,
                "message": f"{reason}; if the database is the cause, check PREFECT_API_DATABASE_CONNECTION_URL",
            }
        await send(message)

    return shortened


def _with_headers(send: Send) -> Send:
    """Return a `send` function that adds the security headers to each answer.

    The headers keep other pages from framing the answer, browsers from guessing its type, and other sites from
    receiving its address.
    """

    async def sent(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in _HEADERS.items():
                headers[name] = value
            message = {**message, "headers": headers.raw}
        await send(message)

    return sent
