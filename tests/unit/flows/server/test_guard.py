"""Test which requests pass the guard of a Prefect server, for HTTP and WebSockets, on Prefect's own routes."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prefect.server.api.server import create_app
from starlette.types import Message

from flows.server.addresses import Addresses, allowed_addresses, canonical, url_host
from flows.server.credential import authorization
from flows.server.guard import Guard
from tasks.errors import InputError

CREDENTIAL = "mnist:s3cret"
HOST = "127.0.0.1:4200"
OWN = "http://127.0.0.1:4200"
KNOWN = authorization(CREDENTIAL)
JSON = {"Content-Type": "application/json", "Content-Length": "2"}
PASSED = 299  # the status of a request that reached the application
Headers = dict[str, str] | list[tuple[str, str]]


@pytest.mark.parametrize(
    ("host", "called"),
    [
        *(("::1", "::1"), ("[::1]", "::1"), ("0:0:0:0:0:0:0:1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1")),
        *(("127.1", "127.0.0.1"), ("LocalHost", "localhost"), ("bücher", "xn--bcher-kva")),
    ],
)
def test_a_host_is_called_as_clients_call_it(host: str, called: str) -> None:
    assert canonical(host) == called
    assert str(httpx.URL(f"http://{url_host(called)}:4200/").netloc, "ascii") in allowed_addresses(called, 4200).hosts


@pytest.mark.parametrize("host", ["fe80::1%lo", "x" * 80])
def test_a_host_that_no_url_can_hold_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="--host"):
        canonical(host)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(ephemeral=True, ignore_cache=True)


class Asked(FastAPI):
    """Prefect's routes in front of an application that only reports that a request reached it."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self.router.routes = app.router.routes
        self.heard: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept", "subprotocol": "prefect"})
            await send({"type": "websocket.send", "text": "too early"})
            self.heard.append(await receive())
            await send({"type": "websocket.send", "text": "auth_success"})
        else:
            await send({"type": "http.response.start", "status": PASSED, "headers": [(b"x-frame-options", b"ALLOW")]})
            await send({"type": "http.response.body"})


def pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, dict) else headers


def exchange(
    guard: Guard, kind: str, path: str, headers: Headers, method: str = "GET", said: Iterable[Message] = (), **more: Any
) -> list[Message]:
    """Return all messages that the guarded application sends."""
    sent: list[Message] = []
    coming = iter(said)

    async def receive() -> Message:
        message = next(coming, {"type": f"{kind}.disconnect"})
        if message == SILENCE:
            await asyncio.sleep(3600)
        return message

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs(headers)]
    scope = {"type": kind, "path": path, "root_path": "", "headers": raw, "query_string": b"", **more}
    if kind == "http":
        scope["method"] = method
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 20))
    return sent


def status(
    app: FastAPI, path: str, headers: Headers, method: str = "GET", *, ui: bool = True, own: Addresses | None = None
) -> int:
    guard = Guard(Asked(app), own or allowed_addresses("127.0.0.1", 4200), CREDENTIAL, ui=ui)
    answer = exchange(guard, "http", path, headers, method)
    return int(answer[0]["status"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4200", "localhost:4200", "LOCALHOST:4200", "[::1]:4200"],
)
def test_the_servers_own_names_pass(app: FastAPI, host: str) -> None:
    assert status(app, "/api/version", {"Host": host} | KNOWN) == PASSED


@pytest.mark.parametrize(
    "hosts",
    [
        [], [""], ["evil.example"], ["evil.example:4200"], ["127.0.0.1"], ["127.0.0.1:4201"], ["127.0.0.1:04200"],
        ["localhost.:4200"], ["x@127.0.0.1:4200"], ["127.0.0.1:4200@evil.example"], ["0.0.0.0:4200"], ["127.1:4200"],
        ["2130706433:4200"], ["::1:4200"], ["[::ffff:127.0.0.1]:4200"], ["127.0.0.1:4200, evil.example"],
        ["127.0.0.1:4200", "evil.example"], ["evil.example", "127.0.0.1:4200"], ["127.0.0.1:4200"] * 2,
        ["localhost.evil.example:4200"], ["127.0.0.1:4200 "], ["127.0.0.1:4200/"], ["127.0.0.1.nip.example:4200"],
    ],
)  # fmt: skip
def test_any_other_host_is_refused_even_with_the_credential_and_on_open_paths(app: FastAPI, hosts: list[str]) -> None:
    for path in ("/api/version", "/api/health", "/", "/ui-settings"):
        assert status(app, path, [*(("Host", host) for host in hosts), *KNOWN.items()]) == 400


def test_a_forwarded_host_counts_for_nothing(app: FastAPI) -> None:
    forged = {"X-Forwarded-Host": HOST, "Forwarded": f"host={HOST}", "X-Host": HOST, "X-Original-Host": HOST}
    assert status(app, "/api/version", {"Host": "evil.example"} | forged | KNOWN) == 400


def test_a_target_that_is_no_path_is_refused(app: FastAPI) -> None:
    for target in ("http://127.0.0.1:4200/api/version", "*", "127.0.0.1:4200", ""):
        assert status(app, target, {"Host": HOST} | KNOWN) == 400


@pytest.mark.parametrize(
    "origins",
    [
        ["https://evil.example"], ["null"], [""], ["http://127.0.0.1:3000"], ["http://127.0.0.1"], ["https://127.0.0.1:4200"],
        ["http://localhost.:4200"], ["http://127.0.0.1:4200.evil.example"], ["file://"], ["chrome-extension://abc"],
        [OWN, "https://evil.example"], [OWN, OWN], [f"{OWN}/"], [f"{OWN} https://evil.example"],
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_another_origin_is_refused_whatever_it_sends(app: FastAPI, origins: list[str], method: str) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    for path in ("/api/flow_runs/filter", "/api/health", "/", "/docs"):
        sent = [("Host", HOST), *(("Origin", one) for one in origins), *(KNOWN | JSON | preflight).items()]
        assert status(app, path, sent, method) == 403


def test_its_own_pages_pass(app: FastAPI) -> None:
    for origin in (OWN, "http://localhost:4200", "http://[::1]:4200"):
        sent = {"Host": HOST, "Origin": origin, "Sec-Fetch-Site": "same-origin"} | KNOWN | JSON
        assert status(app, "/api/flow_runs/filter", sent, "POST") == PASSED


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unknown"])
def test_requests_of_another_site_are_rejected_but_a_link_to_the_ui_works(app: FastAPI, site: str) -> None:
    link = {"Host": HOST, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert status(app, "/v2/runs/flow-run/1", link) == PASSED
    assert status(app, "/v2/runs/flow-run/1", link, "POST") == 403
    assert status(app, "/api/version", link | KNOWN) == 403
    assert status(app, "/docs", link | KNOWN) == 403
    for mode, dest in (("navigate", "iframe"), ("no-cors", "image"), ("no-cors", "script"), ("cors", "empty")):
        sent = {"Host": HOST, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest} | KNOWN
        assert status(app, "/", sent) == 403
        assert status(app, "/api/version", sent) == 403


@pytest.mark.parametrize(
    "types",
    [
        [], ["text/plain"], ["application/x-www-form-urlencoded"], ["multipart/form-data; boundary=x"], [""], ["*/*"],
        ["text/plain; application/json"], ["application/jsonp"], ["application/json, text/plain"],
        ["text/plain", "application/json"], ["application/json"] * 2, ["application/geo+json"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "length", [{"Content-Length": "2"}, {"Transfer-Encoding": "chunked"}, {"Content-Length": "00"}]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
def test_a_body_that_is_not_declared_as_json_is_refused(
    app: FastAPI, types: list[str], length: dict[str, str], method: str
) -> None:
    sent = [("Host", HOST), *KNOWN.items(), *length.items(), *(("Content-Type", one) for one in types)]
    assert status(app, "/api/flow_runs/filter", sent, method) == 415


def test_a_body_of_json_and_no_body_pass(app: FastAPI) -> None:
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        assert status(app, "/api/flow_runs/", {"Host": HOST} | KNOWN | JSON | {"Content-Type": kind}, "POST") == PASSED
    for length in ({}, {"Content-Length": "0"}):
        assert status(app, "/api/deployments/1/pause_deployment", {"Host": HOST} | KNOWN | length, "POST") == PASSED


def test_every_route_of_prefect_asks_for_the_credential(app: FastAPI) -> None:
    described = app.openapi()["paths"]
    assert len(described) > 100
    for path, methods in described.items():
        for method in (*methods, "options", "head"):
            if (path, method) in {("/health", "get"), ("/ready", "get")}:
                continue
            sent = {"Host": HOST} | (JSON if method in {"post", "put", "patch"} else {})
            assert status(app, f"/api{path}", sent, method.upper()) == 401, (method, path)
            assert status(app, f"/api{path}", sent | authorization("mnist:wrong"), method.upper()) == 401, (
                method,
                path,
            )


@pytest.mark.parametrize(
    "path",
    [
        "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/api/", "/api/docs", "/api/openapi.json",
        "/api/static/prefect-logo.png", "/api/metrics", "/api/health/", "/api//health", "/api/health/../version",
        "/api/admin/health", "/api/variables/name/health", "/api/work_pools/ready",
    ],
)  # fmt: skip
def test_nothing_beside_the_ui_and_the_health_checks_is_open(app: FastAPI, path: str) -> None:
    assert status(app, path, {"Host": HOST}) == 401
    assert status(app, path, {"Host": HOST} | KNOWN) == PASSED


def test_health_and_the_uis_files_are_open_to_reading_alone(app: FastAPI) -> None:
    for path in ("/api/health", "/api/ready", "/", "/v2/", "/v2/assets/index.js", "/ui-settings", "/runs/flow-run/1"):
        assert status(app, path, {"Host": HOST}) == PASSED
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert status(app, path, {"Host": HOST}, method) == 401
        override = {"X-HTTP-Method-Override": "GET", "X-HTTP-Method": "GET"}
        assert status(app, path, {"Host": HOST} | override, "POST") == 401


def test_a_path_that_only_looks_like_the_apis_reaches_nothing_of_it(app: FastAPI) -> None:
    # The guard uses the application's own routes: a path that is not the API's is a file of the UI, or missing.
    for path in ("//api/version", "/./api/version", "/x/../api/version", "/API/version", "/api%2fversion", "/\\api"):
        route, _ = Guard(app, allowed_addresses("127.0.0.1", 4200), CREDENTIAL, ui=True).route(
            {"type": "http", "path": path, "root_path": "", "method": "GET", "headers": []}
        )
        assert getattr(route, "name", None) == "ui"


def test_the_temporary_server_opens_nothing_but_its_health(app: FastAPI) -> None:
    assert status(app, "/api/health", {"Host": HOST}, ui=False) == PASSED
    for path in ("/", "/ui-settings", "/v2/", "/docs", "/api/version"):
        assert status(app, path, {"Host": HOST}, ui=False) == 401


@pytest.mark.parametrize(
    "given",
    [
        [], [""], ["Basic"], ["Basic "], ["Basic !!!"], ["Basic \xe9"], ["Bearer bW5pc3Q6czNjcmV0"], ["mnist:s3cret"],
        [authorization(f"{CREDENTIAL}x")["Authorization"]], [authorization(CREDENTIAL[:-1])["Authorization"]],
        [authorization("mnist:")["Authorization"]], [authorization("é")["Authorization"]],
        [KNOWN["Authorization"]] * 2, ["Basic \x00", KNOWN["Authorization"]],
    ],
)  # fmt: skip
def test_a_wrong_credential_is_refused(app: FastAPI, given: list[str]) -> None:
    assert status(app, "/api/version", [("Host", HOST), *(("Authorization", one) for one in given)]) == 401


def test_all_responses_forbid_framing_and_content_sniffing(app: FastAPI) -> None:
    guard = Guard(Asked(app), allowed_addresses("127.0.0.1", 4200), CREDENTIAL, ui=True)
    for headers in ({"Host": HOST}, {"Host": "evil.example"}):
        start = exchange(guard, "http", "/", headers)[0]
        found = [(name.lower(), value) for name, value in start["headers"]]
        assert [value for name, value in found if name == b"x-frame-options"] == [b"DENY"]
        assert dict(found)[b"content-security-policy"] == b"frame-ancestors 'none'"
        assert dict(found)[b"x-content-type-options"] == b"nosniff"
        assert b"access-control-allow-origin" not in dict(found)
        assert b"www-authenticate" not in dict(
            found
        )  # with which a browser would store the credential, and send it with every request


SOCKETS = ("/api/events/in", "/api/events/out", "/api/logs/out", "/api/task_runs/subscriptions/scheduled",
           "/api/work_pools/mnist/workers/connect")  # fmt: skip
CONNECT = {"type": "websocket.connect"}
SILENCE = {"type": "silence"}


def said(text: str | None) -> list[Message]:
    return [CONNECT, {"type": "websocket.receive", "text": text}]


def socket(
    app: FastAPI, path: str, headers: Headers, protocols: list[str], messages: list[Message]
) -> tuple[list[Message], list[Message]]:
    """Return the messages to the client of a WebSocket, and the messages to the application after it has accepted."""
    asked = Asked(app)
    guard = Guard(asked, allowed_addresses("127.0.0.1", 4200), CREDENTIAL, ui=True)
    more = {"subprotocols": protocols, "extensions": {"websocket.http.response": {}}}
    return exchange(guard, "websocket", path, headers, said=messages, **more), asked.heard


@pytest.mark.parametrize("path", SOCKETS)
def test_a_websocket_of_a_page_a_rebound_name_or_without_a_handshake_is_refused(app: FastAPI, path: str) -> None:
    auth = said(json.dumps({"type": "auth", "token": CREDENTIAL}))
    foreign = [{"Host": HOST, "Origin": "https://evil.example"}, {"Host": HOST, "Origin": "null"},
               {"Host": HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
               {"Host": HOST, "Sec-Fetch-Site": "same-site"}]  # fmt: skip
    assert [socket(app, path, one, ["prefect"], auth)[0][0]["status"] for one in foreign] == [403] * 4
    assert socket(app, path, {"Host": "evil.example:4200"}, ["prefect"], auth)[0][0]["status"] == 400
    for protocols in ([], ["other"]):
        assert socket(app, path, {"Host": HOST}, protocols, auth)[0][0]["status"] == 401
    wrong = {"Host": HOST} | authorization("mnist:wrong")
    assert socket(app, path, wrong, [], auth)[0][0]["status"] == 401


@pytest.mark.parametrize(
    "text",
    [None, "", "{", "[]", "1", '"auth"', '{"type": "auth"}', '{"type": "auth", "token": null}', '{"type": "auth", "token": 1}',
     '{"type": "auth", "token": "mnist:wrong"}', '{"type": "auth", "token": "\\ud800"}', '{"type": "filter", "filter": {}}',
     f'{{"type": "event", "token": "{CREDENTIAL}"}}', "[" * 100_000],
)  # fmt: skip
def test_a_websocket_whose_first_message_is_not_the_credential_gets_nothing(app: FastAPI, text: str | None) -> None:
    sent, heard = socket(app, SOCKETS[0], {"Host": HOST}, ["prefect"], said(text))
    assert [one["type"] for one in sent] == ["websocket.accept", "websocket.close"]
    assert [one["type"] for one in heard] == ["websocket.disconnect"]


def test_a_websocket_whose_client_says_nothing_is_closed(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.server.guard.HANDSHAKE_SECONDS", 0.1)
    sent, heard = socket(app, SOCKETS[0], {"Host": HOST}, ["prefect"], [CONNECT, SILENCE])
    assert [one["type"] for one in sent] == ["websocket.accept", "websocket.close"]
    assert [one["type"] for one in heard] == ["websocket.disconnect"]


def test_a_websocket_with_the_credential_is_handed_on(app: FastAPI) -> None:
    auth = json.dumps({"type": "auth", "token": CREDENTIAL})
    sent, heard = socket(app, SOCKETS[0], {"Host": HOST}, ["prefect"], said(auth))
    assert [one.get("text") for one in sent] == [None, "auth_success"]
    assert [one.get("text") for one in heard] == [auth]
    for protocols in ([], ["prefect"]):
        sent, heard = socket(app, SOCKETS[0], {"Host": HOST, "Origin": OWN} | KNOWN, protocols, said("{}"))
        assert [one.get("text") for one in heard] == ["{}"]


def test_a_proxys_name_is_an_address_too_with_https_and_no_other_port(app: FastAPI) -> None:
    own = allowed_addresses("127.0.0.1", 4200, ["mnist.example.org", "SERVER:8443", "[fd00::1]"])

    def passes(host: str, origin: str) -> bool:
        return status(app, "/api/version", {"Host": host, "Origin": origin} | KNOWN, own=own) == PASSED

    assert passes("mnist.example.org", "https://mnist.example.org")
    assert passes("mnist.example.org:4200", "http://mnist.example.org:4200")
    assert passes("127.0.0.1:4200", "https://mnist.example.org")  # if the proxy does not forward the name
    assert passes("server:8443", "https://server:8443")
    assert passes("[fd00::1]:4200", "http://[fd00::1]:4200")
    assert not passes("mnist.example.org", "https://mnist.example.org:8443")
    assert not passes("mnist.example.org", "http://mnist.example.org:3000")
    assert not passes("www.mnist.example.org", "https://mnist.example.org")
    assert not passes("server", "https://server:8443")


@pytest.mark.parametrize(
    "name", ["", "*", "*.example.org", "https://mnist.example.org", "a/b", "a:b", "a b", "u@a", "a:123456"]
)
def test_an_invalid_name_is_rejected(name: str) -> None:
    with pytest.raises(InputError, match="--allowed-host must be HOST"):
        allowed_addresses("127.0.0.1", 4200, [name])


def test_a_password_in_a_name_is_not_repeated() -> None:
    with pytest.raises(InputError, match=r"got '\*\*\*@mnist.example.org'"):
        allowed_addresses("127.0.0.1", 4200, ["user:secret@mnist.example.org"])


def test_an_open_bind_answers_to_the_names_of_this_machine_and_no_others() -> None:
    hosts = allowed_addresses("0.0.0.0", 4200).hosts  # noqa: S104
    assert "127.0.0.1:4200" in hosts
    assert "0.0.0.0:4200" not in hosts
    assert len(hosts) > 3
    assert allowed_addresses("192.0.2.7", 4200).hosts == {"192.0.2.7:4200"}
    assert "localhost" in allowed_addresses("127.0.0.1", 80).hosts
