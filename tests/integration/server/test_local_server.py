"""Test that the temporary server of a run accepts only this process, regardless of settings for other servers."""

import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

from flows.server.credential import authorization
from flows.server.local_server import api_settings, check_server, server, start_server
from tasks.errors import ServerError
from tasks.safety.environment import SET_ASIDE

# Settings that a user may have for another server, in the environment or in a profile.
HOSTILE = {
    "PREFECT_SERVER_API_AUTH_STRING": "me:mine",
    "PREFECT_API_AUTH_STRING": "me:other",
    "PREFECT_API_KEY": "pnu_key",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "PREFECT_SERVER_UI_ENABLED": "true",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Basic eA==", "X-Own": "1"}',
}


@pytest.mark.parametrize("named_in", ["nowhere", "the environment", "a profile"])
def test_the_local_server_accepts_only_its_own_process(
    tmp_path: Path, named_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    if named_in == "the environment":
        for name, value in HOSTILE.items():
            monkeypatch.setenv(name, value)
    elif named_in == "a profile":
        lines = "\n".join(f"{name} = '{value}'" for name, value in HOSTILE.items())
        (tmp_path / "mine.toml").write_text(f"active = 'mine'\n[profiles.mine]\n{lines}\n")
        monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "mine.toml"))
    with start_server() as early, server(early) as api:
        api.wait()
        with get_client(sync_client=True) as client:
            client.read_flows()  # the server accepts this process
        for headers in ({}, authorization("me:mine"), authorization("me:other")):
            refused = httpx.post(f"{api.url}/flows/filter", json={}, headers=headers)
            assert refused.status_code == 401
        own = authorization(api.credential)
        assert httpx.get(f"{api.url}/health").status_code == 200
        assert httpx.get(f"{api.url}/health", headers={"Host": "evil.example"}).status_code == 400
        assert httpx.get(f"{api.url}/version", headers=own | {"Origin": "https://evil.example"}).status_code == 403
        assert httpx.get(f"{api.url}/version", headers=own).status_code == 200
        for path in ("/", "/v2/", "/ui-settings", "/docs"):
            assert httpx.get(api.url.removesuffix("/api") + path).status_code == 401
        secret = api.credential.partition(":")[2]
        for process in psutil.Process().children(recursive=True):
            assert not any(secret in part for part in process.cmdline())
        found = api.credential
    with start_server() as later:
        assert later
        assert later.credential != found


def test_the_local_server_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flows", "prefect", "uvicorn"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with start_server() as early:
        assert early
        early.wait()
        assert httpx.get(f"{early.url}/health").status_code == 200


Answer = Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], str]]


@contextmanager
def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server that imitates Prefect's API with the given answers, and yield its API URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, text = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        if tls:
            web.socket = tls.wrap_socket(web.socket, server_side=True)
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{web.server_address[1]}/api"
        web.shutdown()


def asked_for(**wanted: str) -> Answer:
    """Return an answer like Prefect's: an empty list of flows, or 401 if a wanted header is missing or differs."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], str]:
        if any(request.headers.get(name.replace("_", "-")) != value for name, value in wanted.items()):
            return 401, {}, "{}"
        return (404, {}, "{}") if "csrf" in request.path else (200, {"Content-Type": "application/json"}, "[]")

    return answer


LETS_IN: dict[str, tuple[Answer, dict[str, str]]] = {
    "a key": (asked_for(Authorization="Bearer pnu"), {"PREFECT_API_KEY": "pnu"}),
    "headers": (
        asked_for(Authorization="Bearer x", X_Own="1"),
        {"PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({"Authorization": "Bearer x", "X-Own": "1"})},
    ),
    "a proxy that is overloaded": (lambda _: (503, {"Retry-After": "0"}, "later"), {}),
}


@pytest.mark.parametrize("case", LETS_IN)
def test_a_server_that_accepts_prefects_client_is_used(case: str) -> None:
    answer, env = LETS_IN[case]
    with answering(answer) as url, api_settings(url, env):
        check_server(url)


REFUSED: dict[str, tuple[Answer, dict[str, str], str]] = {
    "a page": (
        lambda _: (200, {"Content-Type": "text/html"}, "<html>"),
        {},
        "there is no Prefect server at .* content that is not Prefect's",
    ),
    "something else": (
        lambda _: (404, {}, ""),
        {},
        "there is no Prefect server at .* HTTP 404: PREFECT_API_URL usually",
    ),
    "a number": (lambda _: (200, {}, "5"), {}, "there is no Prefect server at "),
    "another address": (
        lambda request: (
            (200, {}, "<html>") if "login" in request.path else (302, {"Location": "/login?next=SECRET"}, "")
        ),
        {},
        r"redirects to http://[\d.:]+/login\?next=\*\*\* instead of answering",
    ),
    "no credential": (asked_for(Authorization="x"), {}, "requires authentication: set PREFECT_API_AUTH_STRING"),
    "another password": (
        asked_for(Authorization="x"),
        {"PREFECT_API_AUTH_STRING": "me:other"},
        "rejects the credential in PREFECT_API_AUTH_STRING, which the environment sets, overriding any profile",
    ),
    "another header": (
        asked_for(Authorization="x"),
        {"PREFECT_API_AUTH_STRING": "me:other", "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Basic eA=="}'},
        "rejects the credential in PREFECT_CLIENT_CUSTOM_HEADERS, which the environment sets",
    ),
    "no such file": (
        asked_for(),
        {"PREFECT_API_SSL_CERT_FILE": "/none.pem"},
        "can't use PREFECT_API_SSL_CERT_FILE=/none.pem: No such file",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_server_that_no_run_could_use_is_refused_in_one_line_that_says_why(case: str) -> None:
    answer, env, says = REFUSED[case]
    with answering(answer) as url, api_settings(url, env), pytest.raises(ServerError, match=says) as caught:
        check_server(url)
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_credential_from_the_profile_is_reported_as_such() -> None:
    with (
        answering(asked_for(Authorization="x")) as url,
        api_settings(url),
        temporary_settings({PREFECT_API_AUTH_STRING: "a:b"}),
        pytest.raises(ServerError, match="in PREFECT_API_AUTH_STRING, which Prefect's profile sets"),
    ):
        check_server(url)


def test_a_certificate_is_checked_as_prefects_client_does(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject], check=True, capture_output=True
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with answering(asked_for(), tls) as url:
        for env in ({"PREFECT_API_SSL_CERT_FILE": str(certificate)}, {"PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true"}):
            with api_settings(url, env):
                check_server(url)
        with api_settings(url), pytest.raises(ServerError, match=r"CERTIFICATE_VERIFY.*PREFECT_API_SSL_CERT_FILE"):
            check_server(url)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("https://server.invalid/api", "SSL_CERT_FILE=/none.pem: No such file or directory"),
        ("http://server.invalid/api", "ALL_PROXY is not a proxy URL such as http://HOST:PORT"),
    ],
)
def test_a_variable_that_was_set_aside_is_named_where_the_users_server_needs_it(
    url: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SET_ASIDE, line)
    with pytest.raises(ServerError, match=f"can't reach the Prefect server at PREFECT_API_URL={url}: {line}; correct"):
        check_server(url)
