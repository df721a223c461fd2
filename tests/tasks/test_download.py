import http.server
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks import download as module
from tasks.dataset import Archive, load_dataset
from tasks.download import NoMirrorError, download, worth_retrying
from tasks.files import sha256_of
from tasks.workspace import Workspace
from tests import data

Answer = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]
NAME = data.NAMES["test"][0]


def whole(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def truncated(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.close_connection = True


def stalls(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[:100])
    request.wfile.flush()
    time.sleep(3)


def short(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    whole(request, content[:-1])


def long(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    whole(request, content + b"x")


def lies(request: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    whole(request, b"\0" * len(content))


def missing(request: http.server.BaseHTTPRequestHandler, _content: bytes) -> None:
    request.send_error(404)


def busy(request: http.server.BaseHTTPRequestHandler, _content: bytes) -> None:
    request.send_error(503)


def circle(request: http.server.BaseHTTPRequestHandler, _content: bytes) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.send_header("Content-Length", "0")
    request.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer, folder: Path) -> None:
        self.asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler) -> None:  # noqa: N805
                self.asked.append(handler.path)
                answer(handler, (folder / handler.path.rpartition("/")[2]).read_bytes())

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/mnist/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def serve(files: data.Files) -> Iterator[Callable[[Answer], Server]]:
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer, files.folder))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(files: data.Files) -> Archive:
    return load_dataset(str(files.toml())).test.images


FAULTS = [
    (truncated, "closed connection|incomplete", True),
    (stalls, "stalled", True),
    (short, "bytes, not", True),
    (long, "more than", False),
    (lies, "other bytes: SHA-256", False),
    (missing, "HTTP 404 Not Found", False),
    (busy, "HTTP 503", True),
    (circle, "redirects in a circle", False),
]


@pytest.mark.parametrize(("answer", "reason", "passing"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_bad_mirror_is_passed_over_with_its_reason(
    serve: Callable[[Answer], Server],
    archive: Archive,
    work: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    reason: str,
    passing: bool,
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.5)
    bad, good = serve(answer), serve(whole)
    record = download.fn(archive, (bad.url, good.url), work)
    assert record.mirror == good.url
    assert sha256_of(work.root / record.file.path) == archive.sha256
    assert len(record.passed_over) == 1
    assert record.passed_over[0].startswith(f"{bad.url}: ")

    work = Workspace(root=work.root / "other", run="alone")
    with pytest.raises(NoMirrorError, match=reason) as caught:
        download.fn(archive, (bad.url,), work)
    assert caught.value.passing is passing
    assert bad.url in str(caught.value)
    assert not list(work.root.rglob(f"*{NAME.split('.')[0]}*"))


def test_a_mirror_that_refuses_or_is_unknown_is_passed_over(archive: Archive, work: Workspace) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    with pytest.raises(NoMirrorError) as caught:
        download.fn(archive, (refusing, "http://no-such-host.invalid/", "file:///no/such/folder"), work)
    assert caught.value.passing
    assert all(reason in str(caught.value) for reason in ("refused", "no-such-host.invalid", "No such file"))


def test_a_redirect_from_https_to_http_is_refused(
    serve: Callable[[Answer], Server],
    archive: Archive,
    work: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = serve(whole)

    def downgrade(request: http.server.BaseHTTPRequestHandler, _content: bytes) -> None:
        request.send_response(301)
        request.send_header("Location", plain.url + NAME)
        request.send_header("Content-Length", "0")
        request.end_headers()

    certificate = tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            certificate,
            "-out",
            tmp_path / "public.pem",
        ],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + (tmp_path / "public.pem").read_text())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
    secure = serve(downgrade)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    with pytest.raises(NoMirrorError, match="redirects from https to http"):
        download.fn(archive, (f"https://localhost:{secure.server_port}/",), work)
    assert secure.asked
    assert not plain.asked


def test_mirrors_are_asked_in_order_and_the_first_good_one_is_the_last(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    first, second = serve(whole), serve(whole)
    assert download.fn(archive, (first.url, second.url), work).passed_over == ()
    assert (len(first.asked), len(second.asked)) == (1, 0)


def test_a_kept_archive_is_not_fetched_again_whatever_the_mirrors(
    serve: Callable[[Answer], Server], archive: Archive, work: Workspace
) -> None:
    server = serve(whole)
    download.fn(archive, (server.url,), work)
    again = download.fn(archive, ("http://no-such-host.invalid/",), work.model_copy(update={"run": "later"}))
    assert len(server.asked) == 1
    assert again.origin is not None
    assert again.origin.run == "this-run"


class Ended:
    """What Prefect hands to a retry condition."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, *, raise_on_failure: bool) -> Exception:
        assert not raise_on_failure
        return self.error


def test_only_what_may_pass_is_retried(archive: Archive) -> None:
    passing = module.MirrorFault("busy", passing=True)
    lasting = module.MirrorFault("other bytes")
    assert worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting), ("b", passing)])))
    assert not worth_retrying(None, None, Ended(NoMirrorError(archive, [("a", lasting)])))
    assert not worth_retrying(None, None, Ended(ValueError("a defect")))
