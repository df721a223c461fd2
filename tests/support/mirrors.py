"""Run mirrors that misbehave: an HTTP server on this machine with one faulty answer for each kind of fault."""

import gzip
import http.server
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tasks.data import attempt_limits, http_errors

Request = http.server.BaseHTTPRequestHandler
Answer = Callable[[Request, bytes], None]


# Shorter limits for the tests, instead of half a minute. As in production, a stall is detected before a slow transfer.
IMPATIENT: tuple[tuple[ModuleType, str, float], ...] = (
    (http_errors, "_CONNECT_SECONDS", 1.0),
    (http_errors, "_STALL_SECONDS", 0.6),
    (attempt_limits, "_SLOW_SECONDS", 4.0),
    (attempt_limits, "_ALLOWANCE_SECONDS", 10.0),
    (attempt_limits, "_RATE", 4096),
)


class Server(http.server.ThreadingHTTPServer):
    """A server that gives the same answer to every GET, and records the requests."""

    daemon_threads = True

    def __init__(self, answer: Answer, folder: Path) -> None:
        self.asked: list[str] = []
        self.ranges: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(handler) -> None:  # noqa: N805
                self.asked.append(handler.path)
                self.ranges.append(handler.headers.get("Range", ""))
                try:
                    answer(handler, (folder / handler.path.partition("?")[0].rpartition("/")[2]).read_bytes())
                except OSError:  # the client has closed the connection
                    handler.close_connection = True

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/mnist/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore broken connections, which the tests cause on purpose."""

    @property
    def times(self) -> int:
        """The number of requests."""
        return len(self.asked)

    def secure(self, certificate: Path) -> None:
        """Use TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http://127.0.0.1", "https://localhost")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Create a certificate for localhost; return a file with its key, and a file without, for clients that trust it."""
    key, public = folder / "key.pem", folder / "public.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", key, "-out", public]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(key.read_text() + public.read_text())
    return both, public


def head(request: Request, length: int, status: int = 200, **more: str) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(length))
    for name, value in more.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def whole(request: Request, content: bytes) -> None:
    head(request, len(content))
    request.wfile.write(content)


def begun(request: Request) -> int:
    """Return the offset from which the client wants to resume."""
    return int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def ranged(request: Request, content: bytes, most: int | None = None) -> None:
    """Serve from the requested offset, but at most `most` bytes, although the header announces all of them."""
    start = begun(request)
    if start:
        head(request, len(content) - start, 206, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        head(request, len(content))
    request.wfile.write(content[start:][:most])


def reset(request: Request) -> None:
    """Reset a connection."""
    request.wfile.flush()
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True


# Answers that a download survives without another mirror


def in_pieces(request: Request, content: bytes) -> None:
    ranged(request, content, len(content) // 3 + 1)
    request.close_connection = True


def resets_once(request: Request, content: bytes) -> None:
    if begun(request):
        return ranged(request, content)
    ranged(request, content, len(content) // 2)
    time.sleep(0.2)  # otherwise the reset arrives before the bytes
    return reset(request)


def stalls_once(request: Request, content: bytes) -> None:
    if begun(request):
        return ranged(request, content)
    ranged(request, content, len(content) // 2)
    request.wfile.flush()
    return time.sleep(2)


def slow_but_steady(seconds: float) -> Answer:
    """Return an answer that takes longer than the limit of a single wait, but is transferred steadily."""

    def answer(request: Request, content: bytes) -> None:
        head(request, len(content))
        for start in range(0, len(content), len(content) // 20):
            request.wfile.write(content[start:][: len(content) // 20])
            request.wfile.flush()
            time.sleep(seconds / 20)

    return answer


def promises_more(request: Request, content: bytes) -> None:
    head(request, len(content) + 10)
    request.wfile.write(content)
    request.close_connection = True


def busy_at_first(status: int, retry_after: Callable[[], str]) -> Answer:
    def answer(request: Request, content: bytes) -> None:
        server = request.server
        assert isinstance(server, Server)
        if server.times == 1:
            head(request, 0, status, Retry_After=retry_after())
        else:
            whole(request, content)

    return answer


def labeled_as_packed(request: Request, content: bytes) -> None:
    """Send the archive's own bytes with a Content-Encoding header that some servers send for .gz files."""
    head(request, len(content), Content_Encoding="gzip")
    request.wfile.write(content)


def redirects(request: Request, content: bytes) -> None:
    if "moved" in request.path:
        return whole(request, content)
    return head(request, 0, 302, Location=f"/moved{request.path}")


def in_a_second() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1.5), usegmt=True)


SURVIVED: dict[str, Answer] = {
    "closes after each third, resumable": in_pieces,
    "resets the connection in the middle, resumable": resets_once,
    "stalls in the middle, resumable": stalls_once,
    "slow but steady": slow_but_steady(1.2),
    "right bytes, a length header that promises more": promises_more,
    "429, Retry-After 1 second": busy_at_first(429, lambda: "1"),
    "503, Retry-After a date": busy_at_first(503, in_a_second),
    "right bytes, labeled as compressed": labeled_as_packed,
    "302 to another path": redirects,
}

# Answers for which a download skips the mirror


def truncated(request: Request, content: bytes) -> None:
    head(request, len(content))
    request.wfile.write(content[: len(content) // 2])
    request.close_connection = True


def resets(request: Request, content: bytes) -> None:
    head(request, len(content))
    request.wfile.write(content[:100])
    time.sleep(0.2)
    reset(request)


def stalls(request: Request, content: bytes) -> None:
    head(request, len(content))
    request.wfile.write(content[:100])
    request.wfile.flush()
    time.sleep(2)


def stalls_before(_request: Request, _content: bytes) -> None:
    time.sleep(2)


def drips(request: Request, content: bytes) -> None:
    head(request, len(content))
    for byte in content[:100]:
        request.wfile.write(bytes([byte]))
        request.wfile.flush()
        time.sleep(0.1)


def drips_headers(request: Request, _content: bytes) -> None:
    """Start an answer whose headers never end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        request.wfile.write(b"X")
        request.wfile.flush()
        time.sleep(0.1)


def page(request: Request, _content: bytes) -> None:
    """Send the page that a captive portal sends instead of any content."""
    whole(request, b"<!DOCTYPE html>\n<html><body>Log in to the network first.</body></html>")


def answering(something: bytes) -> Answer:
    return lambda request, _content: whole(request, something)


def announces(size: int) -> Answer:
    def answer(request: Request, content: bytes) -> None:
        head(request, size)
        request.wfile.write(content)
        request.close_connection = True

    return answer


def redirects_often(request: Request, _content: bytes) -> None:
    """Redirect in a circle in which no address occurs twice."""
    head(request, 0, 302, Location=f"{request.path}{'&' if '?' in request.path else '?'}x")


def short(request: Request, content: bytes) -> None:
    whole(request, content[:-1])


def long(request: Request, content: bytes) -> None:
    whole(request, content + b"x")


def promises_less(request: Request, content: bytes) -> None:
    head(request, len(content) - 10)
    request.wfile.write(content)
    request.close_connection = True


def lies(request: Request, content: bytes) -> None:
    whole(request, b"\0" * len(content))


def packed(request: Request, content: bytes) -> None:
    """Compress the content in transit, although the client has requested it uncompressed."""
    again = gzip.compress(content)
    head(request, len(again), Content_Encoding="gzip")
    request.wfile.write(again)


def bomb(request: Request, _content: bytes) -> None:
    """Send a megabyte of gzip that decompresses to a gigabyte: not the archive, and not to be decompressed."""
    thousand = gzip.compress(b"\0" * (1 << 20)) * 1000
    head(request, len(thousand), Content_Encoding="gzip")
    request.wfile.write(thousand)


def endless(request: Request, _content: bytes) -> None:
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    while True:
        request.wfile.write(b"\0" * 65536)


def another_part(request: Request, content: bytes) -> None:
    head(request, len(content), 206, Content_Range=f"bytes 7-{len(content) - 1}/{len(content)}")
    request.wfile.write(content)


def status(code: int, **headers: str) -> Answer:
    return lambda request, _content: head(request, 0, code, **headers)


def circle(request: Request, _content: bytes) -> None:
    head(request, 0, 302, Location=request.path)


def hangs_up(request: Request, _content: bytes) -> None:
    request.close_connection = True


def no_http(request: Request, _content: bytes) -> None:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    request.close_connection = True


def flood(request: Request, content: bytes) -> None:
    head(request, len(content), **{f"X_{number}": "x" * 60_000 for number in range(30)})
    request.wfile.write(content)


class Fault(NamedTuple):
    """A fault of a mirror, the reported reason, and whether the fault may be temporary."""

    answer: Answer
    reason: str
    transient: bool


MIRROR_FAILURES: dict[str, Fault] = {
    "breaks off in the middle": Fault(truncated, "closed connection|incomplete", True),
    "resets the connection in the middle": Fault(resets, "reset", True),
    "stalls before its answer": Fault(stalls_before, "stalled", True),
    "stalls in the middle": Fault(stalls, "stalled", True),
    "sends ten bytes per second": Fault(drips, "it sent only", False),
    "sends its headers byte by byte": Fault(drips_headers, "it sent only 0 bytes", False),
    "an HTML page with status 200": Fault(page, r"\(a web page\)", True),
    "302 to a longer URL each time": Fault(redirects_often, "redirects too many times", False),
    "too few bytes": Fault(short, "bytes, not", True),
    "too many bytes": Fault(long, "more than", False),
    "right bytes, a length header that promises less": Fault(promises_less, "bytes, not", True),
    "wrong bytes": Fault(lies, "different file: SHA-256", False),
    "compresses in transit": Fault(packed, "encoded as gzip in transit", False),
    "a gzip bomb": Fault(bomb, "more than .*encoded as gzip in transit", False),
    "endless": Fault(endless, "more than", False),
    "404": Fault(status(404), "HTTP 404 Not Found", False),
    "403": Fault(status(403), "HTTP 403 Forbidden", False),
    "500": Fault(status(500), "HTTP 500", True),
    "503": Fault(status(503), "HTTP 503", True),
    "429, Retry-After an hour": Fault(status(429, Retry_After="3600"), "HTTP 429.*retry after 3600 s", True),
    "redirect loop": Fault(circle, "redirects too many times", False),
    "302 to an unknown host": Fault(
        status(302, Location="http://no-such-host.invalid/x"), "no-such-host|not known|resol", True
    ),
    "302 to a file": Fault(status(302, Location="file:///etc/passwd"), "not http or https", True),
    "closes the connection without an answer": Fault(hangs_up, "disconnected", True),
    "does not answer with HTTP": Fault(no_http, "illegal|protocol|disconnected", True),
    "too many headers": Fault(flood, "too large|too many|receive buffer", True),
    "answers with a different range than requested": Fault(
        another_part, "different byte range|different file|bytes, not", False
    ),
}


# Servers that do not speak HTTP

Talk = Callable[[socket.socket], None]


@contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """Yield a port of this machine whose connections `talk` handles while the block runs."""
    over = threading.Event()

    def accept() -> None:
        held = []
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                held.append(connection)
                threading.Thread(target=heard, args=(connection,), daemon=True).start()
        for connection in held:
            connection.close()

    def heard(connection: socket.socket) -> None:
        with suppress(OSError):
            talk(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            accepting.join()  # before another file gets the number of its descriptor


def says_nothing(_connection: socket.socket) -> None:
    """Accept a connection and send nothing."""


def drips_a_handshake(connection: socket.socket) -> None:
    """Start a TLS record of 16 KiB that never ends."""
    for byte in b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03" + bytes(1000):
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


SILENT: dict[str, tuple[str, Talk, str]] = {  # scheme, handler of the connection, and the reported reason
    "accepts and says nothing": ("http", says_nothing, "stalled"),
    "a TLS handshake that never begins": ("https", says_nothing, "no connection within"),
    "a TLS handshake that never ends": ("https", drips_a_handshake, "no connection within"),
}


def irregular(folder: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield folders in which the archive is not a regular file: its kind, the folder's address, and the reason."""
    reasons = {"FIFO": "pipe", "socket": "socket", "directory": "folder", "device": "device"}
    for kind, reason in reasons.items():
        place = folder / kind
        place.mkdir(parents=True)
        path = place / name
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            here = Path.cwd()
            os.chdir(place)  # the path of a socket has a limit of about a hundred characters
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(name)
            os.chdir(here)
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        yield f"a {kind} behind a file: address", place.as_uri(), reason
