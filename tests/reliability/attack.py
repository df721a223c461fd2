"""Attack a running server: `python -m tests.reliability.attack http://127.0.0.1:4200 [FILE]`.

A headless Chromium opens pages of other origins, which try everything that pages can do. Requests use other host names
at the server's address. Every route of Prefect is called without a credential and with wrong credentials.

FILE may contain the credential. With it, the server is asked at the end whether a page has written something. The exit
code is 1 if an attack succeeds.
"""

import http.server
import json
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import BrowserContext, Error, sync_playwright

from flows.server.credential import authorization

SOCKETS = (
    "events/in",
    "events/out",
    "logs/out",
    "task_runs/subscriptions/scheduled",
    "work_pools/mnist/workers/connect",
)
OPEN = {("get", "/health"), ("get", "/ready")}
REFUSED = {400, 401, 403, 415}
WRONG = {
    "none": {},
    "wrong": authorization("mnist:wrong"),
    "empty": authorization(":"),
    "token": {"Authorization": "Bearer x"},
}
SECONDS = 20
ORIGINS = {
    "another site": "http://evil.test:{port}/",
    "another port": "http://127.0.0.1:{port}/",
    "no origin": "http://evil.test:{port}/sandbox",
}
HOSTS = (
    "evil.example",
    "evil.example:{port}",
    "0.0.0.0:{port}",
    "localhost.:{port}",
    "x@127.0.0.1:{port}",
    "127.0.0.1:1",
    "[::2]:{port}",
)

PAGE = Path(__file__).with_suffix(".js").read_text()


class Trial(NamedTuple):
    """An attack, its source, and its result; `breach` is empty if the attack was rejected."""

    source: str
    what: str
    breach: str


def attack(
    target: str,
    credential: str | None = None,
    origins: Iterable[str] = tuple(ORIGINS),
    wrong: Iterable[str] = tuple(WRONG),
) -> Iterator[Trial]:
    """Try all attacks on the server at an address such as http://127.0.0.1:4200.

    The pages have these `origins`, and the calls have these `wrong` credentials.
    """
    yield from called(target, wrong)
    yield from rebound(target)
    yield from raw(target)
    name = f"attack-{uuid.uuid4().hex[:12]}"
    yield from browsed(target, name, origins)
    yield from read_back(target, name, credential)


def called(target: str, wrong: Iterable[str]) -> Iterator[Trial]:
    """Call every route of the installed Prefect without a valid credential."""
    from prefect.server.api.server import create_app

    routes = [
        (method, path) for path, methods in create_app(ephemeral=True).openapi()["paths"].items() for method in methods
    ]
    others = [("get", path) for path in ("/docs", "/redoc", "/openapi.json")]
    with httpx.Client(timeout=SECONDS) as client:
        for who, headers in ((who, WRONG[who]) for who in wrong):
            for method, path in sorted({*routes} - OPEN):
                filled = f"/api{path}".replace("{", "").replace("}", "")
                body = {"json": {}} if method in {"post", "put", "patch"} else {}
                yield Trial(
                    f"credential: {who}",
                    f"{method} {path}",
                    unless_refused(client.request(method, target + filled, headers=headers, **body)),
                )
            for method, path in others:
                yield Trial(
                    f"credential: {who}",
                    f"{method} {path}",
                    unless_refused(client.request(method, target + path, headers=headers)),
                )


def unless_refused(answer: httpx.Response) -> str:
    """Return the status of a response that is not a rejection, or an empty string."""
    return "" if answer.status_code in REFUSED else f"status {answer.status_code}"


def rebound(target: str) -> Iterator[Trial]:
    """Request other host names at the server's address, as a page does after DNS rebinding."""
    port = urlsplit(target).port
    with httpx.Client(timeout=SECONDS) as client:
        for host in (one.format(port=port) for one in HOSTS):
            for path in ("/", "/ui-settings", "/api/health", "/api/version"):
                yield Trial(
                    f"Host: {host}", f"GET {path}", unless_refused(client.get(target + path, headers={"Host": host}))
                )


def raw(target: str) -> Iterator[Trial]:
    """Send requests that no HTTP library sends."""
    place = urlsplit(target)
    own = f"Host: {place.netloc}\r\n"
    lines = {
        "HTTP/1.0 without Host": "GET /ui-settings HTTP/1.0\r\n\r\n",
        "HTTP/1.1 without Host": "GET /ui-settings HTTP/1.1\r\n\r\n",
        "two Hosts": f"GET /ui-settings HTTP/1.0\r\n{own}Host: evil.example\r\n\r\n",
        "an absolute target": f"GET http://evil.example/ui-settings HTTP/1.1\r\n{own}\r\n",
        "a forwarded Host": f"GET /ui-settings HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: {place.netloc}\r\n\r\n",
        "a path with dots": f"GET /v2/../api/version HTTP/1.1\r\n{own}\r\n",
        "a path in per cent": f"GET /%61%70%69/version HTTP/1.1\r\n{own}\r\n",
        "another method named": f"POST /api/version HTTP/1.1\r\n{own}X-HTTP-Method-Override: GET\r\n\r\n",
    }
    for what, text in lines.items():
        with socket.create_connection((place.hostname or "", place.port or 80), SECONDS) as connection:
            connection.sendall(text.encode())
            connection.settimeout(SECONDS)
            status = connection.recv(4096).partition(b" ")[2][:3]
        # A path with dots may be a file of the UI or a missing file, but the API must not answer it.
        yield Trial("a raw request", what, f"status {status.decode()}" if status == b"200" else "")


def browsed(target: str, name: str, origins: Iterable[str]) -> Iterator[Trial]:
    """Open pages of other origins, and pages under other host names that resolve to the server's address."""
    with page_server() as port, sync_playwright() as playwright:
        rules = "--host-resolver-rules=MAP *.test 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", rules])
        for source in origins:
            context = browser.new_context()
            yield from tried(context, source, ORIGINS[source].format(port=port), target, name)
            context.close()
        for host in ("rebind.test", "0.0.0.0"):  # noqa: S104
            page = browser.new_page()
            try:
                answer = page.goto(f"http://{host}:{urlsplit(target).port}/ui-settings")
                breach = f"status {answer.status}" if answer and answer.ok else ""
            except Error:
                breach = ""
            yield Trial("a rebound name", f"http://{host}", breach)
        browser.close()


def tried(context: BrowserContext, source: str, address: str, target: str, name: str) -> Iterator[Trial]:
    """Let one page try everything that pages can do; yield what it read, and responses that it could not read."""
    passed: list[tuple[str, int]] = []
    context.on(
        "response",
        lambda one: (
            passed.append((f"{one.request.method} {urlsplit(one.url).path}", one.status))
            if one.url.startswith(f"{target}/") and one.status < 400
            else None
        ),
    )
    page = context.new_page()
    page.goto(address)
    found: list[tuple[str, str | None]] = page.evaluate(PAGE, {"target": target, "name": name, "sockets": SOCKETS})
    for what, read in found:
        # A page that CORS admits can read a rejection too, which does no harm.
        harmless = read is None or "Unauthorized" in read
        yield Trial(source, what, "" if harmless else f"read {json.dumps(read)}")
    for what, status in passed:
        yield Trial(source, f"unread answer to {what}", f"status {status}")


def read_back(target: str, name: str, credential: str | None) -> Iterator[Trial]:
    """Check whether a page has written a variable; without a credential, skip a server that requires one."""
    with httpx.Client(timeout=SECONDS, headers=authorization(credential)) as client:
        answer = client.get(f"{target}/api/variables/name/{name}")
    if credential or answer.status_code != httpx.codes.UNAUTHORIZED:
        missing = answer.status_code == httpx.codes.NOT_FOUND
        yield Trial("a page", "what it wrote, read back", "" if missing else f"status {answer.status_code}")


@contextmanager
def page_server() -> Iterator[int]:
    """Serve an empty page on a free port, and under /sandbox a page without an origin; yield the port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            if self.path == "/sandbox":
                self.send_header("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>page</title><body></body>")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def main(target: str, file: str | None = None) -> int:
    """Run all attacks, print a table, and return the exit code."""
    from rich.console import Console
    from rich.table import Table

    trials = list(attack(target.rstrip("/"), Path(file).read_text().strip() if file else None))
    table = Table("source", "attacks", "succeeded")
    for source in dict.fromkeys(one.source for one in trials):
        of_it = [one for one in trials if one.source == source]
        table.add_row(source, str(len(of_it)), str(sum(bool(one.breach) for one in of_it)))
    console = Console()
    console.print(table)
    breaches = [one for one in trials if one.breach]
    for one in breaches:
        console.print(f"{one.source}: {one.what}: {one.breach}", style="red", markup=False)
    console.print(f"{len(trials)} attacks, {len(breaches)} succeeded")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
