"""Download: one archive from the first mirror that serves the pinned bytes.

In: an Archive and its mirrors in order. Out: an ArchiveRecord. Refuses: other bytes than the pinned ones, a redirect from
https to plain http, a mirror that stalls. Each mirror that fails is named in a warning and in the record.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import httpx

from tasks.dataset import Archive
from tasks.errors import DownloadError
from tasks.files import CHUNK, adopt, writable
from tasks.log import say
from tasks.records import ArchiveRecord
from tasks.step import step
from tasks.workspace import Workspace

CONNECT_SECONDS = 5.0  # a machine without internet finds out soon, and goes on to the offline mirror
STALL_SECONDS = 15.0  # without a single byte
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # status codes that a later try may not meet again


class MirrorFault(Exception):  # noqa: N818  # a fault of the mirror, not of the run
    """Why one mirror was passed over; `passing` if a later try might succeed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class NoMirrorError(DownloadError):
    """Every mirror failed; `passing` if a later try might succeed."""

    def __init__(self, archive: Archive, faults: list[tuple[str, MirrorFault]]) -> None:
        reasons = "; ".join(f"{mirror}: {fault}" for mirror, fault in faults) or "there is no mirror"
        super().__init__(f"{archive.name}: no mirror served it ({reasons}); check the network or give another --mirror")
        self.passing = any(fault.passing for _, fault in faults)


def worth_retrying(_task: object, _run: object, state: Any) -> bool:
    """Only what may pass is tried again: a mirror of wrong bytes will serve them again."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, NoMirrorError) and error.passing


@step(
    "download {archive.name}",
    unkeyed=("mirrors",),
    retries=2,
    retry_delay_seconds=[1, 4],
    retry_condition_fn=worth_retrying,
)
def download(archive: Archive, mirrors: tuple[str, ...], work: Workspace) -> ArchiveRecord:
    """Fetch and verify one archive.

    Raises:
        NoMirrorError: no mirror served the pinned bytes.
        StorageError: the archive can't be written.
    """
    faults: list[tuple[str, MirrorFault]] = []
    with work.scratch() as scratch:
        path = scratch / archive.name
        for mirror in mirrors:
            try:
                fetch(mirror, archive, path)
            except MirrorFault as fault:
                faults.append((mirror, fault))
                say(f"{archive.name}: passed over {mirror}: {fault}", logging.WARNING)
            else:
                stem, suffix = archive.name.split(".")[0], "".join(Path(archive.name).suffixes)
                file = adopt(work.root, "archives", stem, suffix, path)
                say(f"{archive.name}: {archive.bytes:,} bytes from {mirror}, SHA-256 as pinned")
                passed_over = tuple(f"{name}: {fault}" for name, fault in faults)
                return ArchiveRecord(name=archive.name, file=file, mirror=mirror, passed_over=passed_over)
    raise NoMirrorError(archive, faults)


def fetch(mirror: str, archive: Archive, path: Path) -> None:
    """Write the archive's bytes to `path`, hashing on the way.

    Raises:
        MirrorFault: the mirror can't be had, or serves other bytes.
        StorageError: `path` can't be written.
    """
    url = urljoin(mirror.rstrip("/") + "/", archive.name)
    digest, size = hashlib.sha256(), 0
    source = read_file if urlsplit(url).scheme == "file" else read_web
    with writable(path), path.open("wb") as target:
        for chunk in source(url):
            digest.update(chunk)
            size += len(chunk)
            if size > archive.bytes:
                break
            target.write(chunk)
    if size != archive.bytes:
        found = f"more than {archive.bytes:,}" if size > archive.bytes else f"{size:,}"
        raise MirrorFault(f"it served {found} bytes, not {archive.bytes:,}", passing=size < archive.bytes)
    if digest.hexdigest() != archive.sha256:
        raise MirrorFault(f"it served other bytes: SHA-256 {digest.hexdigest()[:12]}…, not {archive.sha256[:12]}…")


def read_file(url: str) -> Iterator[bytes]:
    """The bytes of a file URL, chunk by chunk."""
    path = Path(url2pathname(urlsplit(url).path))
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise MirrorFault(error.strerror or str(error)) from error


def read_web(url: str) -> Iterator[bytes]:
    """The bytes of an http or https URL, chunk by chunk, exactly as served."""
    timeout = httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}  # the hash is of the archive, not of what a server makes of it
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [refuse_downgrade(urlsplit(url).scheme)]}
    with (
        faults_of_the_web(),
        httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5, event_hooks=hooks) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        response.raise_for_status()
        yield from response.iter_raw(CHUNK)


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
        status = error.response.status_code
        raise MirrorFault(f"HTTP {status} {error.response.reason_phrase}", passing=status in PASSING) from error
    except httpx.TooManyRedirects as error:
        raise MirrorFault("it redirects in a circle") from error
    except httpx.ConnectTimeout as error:
        raise MirrorFault(f"no connection within {CONNECT_SECONDS:.0f} s", passing=True) from error
    except httpx.ReadTimeout as error:
        raise MirrorFault(f"it stalled for {STALL_SECONDS:.0f} s", passing=True) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MirrorFault(
            str(error) or type(error).__name__, passing=isinstance(error, httpx.TransportError)
        ) from error
