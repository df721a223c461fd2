"""Mirror: the bytes of one archive from one place, http, https or a local file.

In: a URL, and a file that holds the first bytes already, or none. Out: the file with all the bytes that the place serves.
Refuses, as a MirrorFault: whatever the network does, a redirect from https to plain http, a server that sends next to nothing.
A limit lies on progress, never on the total time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from tasks.files import CHUNK, writable

CONNECT_SECONDS = 5.0  # a machine without internet finds out soon, and goes on to the offline mirror
STALL_SECONDS = 15.0  # without a single byte
SLOW_SECONDS, SLOW_BYTES = 30.0, 30 * 1024  # slower than 1 KiB/s over half a minute: as good as stalled
REDIRECTS = 5
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # status codes that a later try may not meet again


class MirrorFault(Exception):  # noqa: N818  # a fault of the mirror, not of the run
    """Why one mirror was passed over; `passing` if a later try might succeed, `wait` in how many seconds it says so."""

    def __init__(self, reason: str, *, passing: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.passing, self.wait = passing, wait


class Body(NamedTuple):
    """What a place serves: bytes from `start` on, and how they were packed on the way, if they were."""

    start: int
    chunks: Iterator[bytes]
    packed: str = ""


def append(url: str, path: Path, most: int) -> str:
    """Add to `path` what is missing of it, up to one byte more than `most`; say how it was packed on the way, if it was.

    A server that can't take up a download in its middle sends all of it, and the file begins anew.

    Raises:
        MirrorFault: the place can't be had. What has come until then stays in the file.
        StorageError: `path` can't be written.
    """
    have = path.stat().st_size if path.exists() else 0
    source = from_file if urlsplit(url).scheme == "file" else from_web
    with source(url, have) as body, writable(path), path.open("r+b" if body.start else "wb") as target:
        target.seek(body.start)
        target.truncate()
        size = body.start
        for chunk in body.chunks:
            target.write(chunk[: most + 1 - size])
            size += len(chunk)
            if size > most:
                break
        return body.packed


@contextmanager
def from_file(url: str, _have: int) -> Iterator[Body]:
    """The bytes of a file URL."""
    path = Path(url2pathname(urlsplit(url).path))
    try:
        stream = path.open("rb")
    except OSError as error:
        raise MirrorFault(error.strerror or str(error)) from error
    with stream:
        yield Body(0, file_chunks(stream))


def file_chunks(stream: Any) -> Iterator[bytes]:
    """What is left of a file, chunk by chunk."""
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except OSError as error:
        raise MirrorFault(error.strerror or str(error)) from error


@contextmanager
def from_web(url: str, have: int) -> Iterator[Body]:
    """The bytes of an http or https URL exactly as served, from byte `have` on where the server can.

    Proxies are those of the environment.
    """
    headers = {"Accept-Encoding": "identity"}  # the hash is of the archive, not of what a server makes of it
    if have:
        headers["Range"] = f"bytes={have}-"
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [refuse_downgrade(urlsplit(url).scheme)]}
    timeout = httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
    with (
        faults_of_the_web(),
        httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=REDIRECTS, event_hooks=hooks) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise MirrorFault(f"it has no more than the first {have:,} bytes", passing=True)
        response.raise_for_status()
        start = have if starts_at(response, have) else 0
        yield Body(start, steady(response.iter_raw()), response.headers.get("Content-Encoding", ""))


def starts_at(response: httpx.Response, have: int) -> bool:
    """Whether a server answers with the rest that it was asked for, and not with the whole."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise MirrorFault("it answers with another part than it was asked for")
    return True


def steady(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Chunks as they come, as long as enough of them come.

    Raises:
        MirrorFault: too few bytes come for too long.
    """
    since, size = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        size += len(chunk)
        passed = time.monotonic() - since
        if passed > SLOW_SECONDS:
            if size < SLOW_BYTES:
                raise MirrorFault(f"it sent only {size:,} bytes in {passed:.0f} s", passing=True)
            since, size = time.monotonic(), 0


def refuse_downgrade(scheme: str) -> Callable[[httpx.Request], None]:
    """A hook that lets no request of a redirect chain leave https."""

    def check(request: httpx.Request) -> None:
        if scheme == "https" and request.url.scheme != "https":
            raise MirrorFault(f"it redirects from https to {request.url.scheme}")

    return check


@contextmanager
def faults_of_the_web() -> Iterator[None]:
    """Turn what httpx raises into a reason of a few words."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        raise status_fault(error.response) from error
    except httpx.TooManyRedirects as error:
        raise MirrorFault("it redirects in a circle") from error
    except httpx.ConnectTimeout as error:
        raise MirrorFault(f"no connection within {CONNECT_SECONDS:g} s", passing=True) from error
    except httpx.ReadTimeout as error:
        raise MirrorFault(f"it stalled for {STALL_SECONDS:g} s", passing=True) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        passing = isinstance(error, httpx.TransportError)
        raise MirrorFault(str(error) or type(error).__name__, passing=passing) from error
    except (ValueError, ImportError) as error:  # a proxy of the environment that httpx can't use
        raise MirrorFault(str(error)) from error


def status_fault(response: httpx.Response) -> MirrorFault:
    """What a status code other than success says."""
    status, wait = response.status_code, wait_of(response.headers.get("Retry-After", ""))
    reason = f"HTTP {status} {response.reason_phrase}" + (f", to be tried again in {wait:.0f} s" if wait else "")
    return MirrorFault(reason, passing=status in PASSING, wait=wait)


def wait_of(retry_after: str) -> float | None:
    """The seconds that a Retry-After header asks to wait, which gives a number of them or a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
