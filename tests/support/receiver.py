"""A local HTTP receiver: keeps what is posted to it, and answers as it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """Listens on a port of its own of this machine."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """Where to post, with something in it that must not be logged."""
        return f"http://127.0.0.1:{self.server_port}/hooks/s3cret"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Receiver

    def do_POST(self) -> None:  # http.server's name
        """Keep the body."""
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""
    with Receiver(status) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
