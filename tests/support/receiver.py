"""Run a local HTTP receiver that keeps posted bodies and gives configurable answers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """A receiver on a free port of this machine."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.received: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """The address to post to, with a part that must not be logged."""
        return f"http://127.0.0.1:{self.server_port}/hooks/s3cret"


class Handler(BaseHTTPRequestHandler):
    """The handler of one request."""

    server: Receiver

    def do_POST(self) -> None:  # the name that http.server requires
        """Keep the body of a request."""
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def receiver(status: int = 200) -> Iterator[Receiver]:
    """Yield a receiver that listens while the block runs."""
    with Receiver(status) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
