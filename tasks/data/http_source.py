"""Download one archive from one http, https or file address.

A `MirrorError` reports network failures, redirects from https to plain http, mirrors that are too slow
(`tasks/data/attempt_limits.py`), and local paths that are not regular files. Requests run in a separate event loop,
where a check every tenth of a second ends the transfer if the time limit is exceeded or the process has been told to
stop.
"""

import asyncio
import errno
import os
import shutil
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.http_errors import open_response, received_chunks, starts_at
from tasks.filesystem.regular_files import open_regular
from tasks.safety.address import Address
from tasks.safety.redaction import redact_all_output
from tasks.safety.stopping import raise_if_stopping
from tasks.storage.backend import storage_errors
from tasks.storage.content_files import CHUNK_BYTES

_WATCH_SECONDS = 0.1
_CANCEL_SECONDS = 1.0  # for a canceled request to close its connection, which is usually immediate

# Called with the number of bytes that the file holds, and the total if it is known.
TransferReport = Callable[[int, int | None], None]


class Target:
    """File that receives a download, up to one byte more than `max_bytes`.

    The additional byte shows that the mirror serves a larger file than expected.
    """

    def __init__(self, path: Path, max_bytes: int, limit: AttemptLimit, report: TransferReport | None = None) -> None:
        self.path, self.max_bytes, self.limit = path, max_bytes, limit
        self.report = report or (lambda _have, _total: None)
        self.size = path.stat().st_size if path.exists() else 0
        self.total: int | None = None

    @contextmanager
    def open(self, start: int) -> Iterator[BinaryIO]:
        """Open the file for writing at byte `start`, and remove everything after that position."""
        with storage_errors(self.path), self.path.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            self.size = start
            yield stream

    def full(self, stream: BinaryIO, chunk: bytes) -> bool:
        """Write a chunk, and return whether the download exceeds `max_bytes` bytes."""
        with storage_errors(self.path):
            stream.write(chunk[: self.max_bytes + 1 - self.size])
        self.size += len(chunk)
        self.limit.count(len(chunk))
        self.report(min(self.size, self.max_bytes), self.total)
        return self.size > self.max_bytes

    def announce(self, total: int | None) -> None:
        """Record the file size that the mirror announces, None if unknown, and check that the download can fit.

        Raises:
            MirrorError: If the announced size exceeds `max_bytes` or the free disk space.
            StorageError: If the size is known in advance and exceeds the free disk space.
        """
        self.total = total
        self.limit.start_transfer()
        if self.limit.size:  # known in advance, so that the announced size is not used
            self.require_free_space(self.limit.size)
            return
        if total is not None and total > self.max_bytes:
            raise MirrorError(
                f"it announces {total:,} bytes, more than the maximum of {self.max_bytes:,} for this archive"
            )
        if total is not None and total - self.size > (room := _room_at(self.path)):
            raise MirrorError(f"it announces {total:,} bytes, but {self.path.parent} has only {room:,} bytes free")
        self.limit.expect(self.max_bytes if total is None else total)

    def require_free_space(self, size: int) -> None:
        """Reject a download for which the free disk space is too small, before it starts.

        Raises:
            StorageError: If the remaining part of `size` bytes does not fit.
        """
        room, needed = _room_at(self.path), size - self.size
        if needed > room:
            with storage_errors(self.path):
                raise OSError(
                    errno.ENOSPC,
                    f"{os.strerror(errno.ENOSPC)}: {needed:,} more bytes are needed, and {room:,} are free",
                )


def _room_at(path: Path) -> int:
    """Return the free disk space in the folder of a file, in bytes."""
    with storage_errors(path):
        return shutil.disk_usage(path.parent).free


def append_chunks(
    url: str, path: Path, max_bytes: int, limit: AttemptLimit | None = None, report: TransferReport | None = None
) -> str:
    """Append the bytes that `path` lacks, up to one byte more than `max_bytes`, the expected number or an upper bound.

    If the server cannot resume a download, the file is written again from the start. By default, `limit` is that
    for `max_bytes` bytes.

    Returns:
        The Content-Encoding of the response, empty if it has none.

    Raises:
        MirrorError: If the download fails. The bytes received so far stay in the file.
        StorageError: If `path` cannot be written.
        Interrupted: If the process has been asked to stop. The bytes received so far stay in the file.
    """
    redact_all_output()  # httpx logs request URLs, and httpcore logs all headers
    address = Address(url)
    target = Target(path, max_bytes, limit or AttemptLimit(max_bytes), report)
    if address.lacks_secrets:
        raise MirrorError("its user info or query values were removed; give the full address again")
    if urlsplit(address).scheme == "file":
        _copy(address, target)
        return ""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_watch_transfer(_fetch_from_mirror(address, target), target.limit))


def _copy(address: Address, target: Target) -> None:
    """Copy a local file to the target.

    Only regular files are accepted: reading a FIFO or a device might never start or never end.
    """
    with _file_faults():
        source = open_regular(Path(url2pathname(urlsplit(address.reveal()).path)))
    with source:
        target.announce(os.fstat(source.fileno()).st_size)
        with target.open(0) as stream:
            while True:
                raise_if_stopping()
                with _file_faults():
                    chunk = source.read(CHUNK_BYTES)
                if not chunk or target.full(stream, chunk):
                    return


@contextmanager
def _file_faults() -> Iterator[None]:
    """Translate file system errors into a `MirrorError` with a short reason."""
    try:
        yield
    except (OSError, ValueError) as error:  # a path with a null byte raises a ValueError
        reason = getattr(error, "strerror", None)  # the text of a ValueError may quote the address
        raise MirrorError(reason or "its address is not a valid path") from None


class Loop(asyncio.SelectorEventLoop):
    """Event loop that resolves names in daemon threads and keeps track of its connections.

    Name lookups can therefore not delay the end of a transfer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connections: list[asyncio.BaseTransport] = []

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """Create a connection, and record it for `hang_up`."""
        connection = await super().create_connection(*arguments, **options)
        self.connections.append(connection[0])
        return connection

    async def hang_up(self) -> None:
        """Close all connections that are still open.

        httpcore loses track of the socket if a TLS handshake is canceled.
        """
        for connection in self.connections:
            connection.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next iteration

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """Resolve a host name in a daemon thread."""
        found = self.create_future()

        def settle(answer: Any, error: Exception | None) -> None:
            if found.done():  # canceled in the meantime
                return
            if error:
                found.set_exception(error)
            else:
                found.set_result(answer)

        def look_up() -> None:
            answer, failed = None, None
            try:
                answer = socket.getaddrinfo(host, port, **options)
            except Exception as error:  # noqa: BLE001  # passed on to the caller, whatever its type
                failed = error
            with suppress(RuntimeError):  # raised if the loop is closed
                self.call_soon_threadsafe(settle, answer, failed)

        threading.Thread(target=look_up, daemon=True, name="getaddrinfo").start()
        return await found


async def _watch_transfer(work: Coroutine[Any, Any, str], limit: AttemptLimit) -> str:
    """Return the result of `work`, unless the time limit or a stop request ends it first."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_WATCH_SECONDS))[0]:
            raise_if_stopping()
            limit.check()
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            if task.done() and not task.cancelled():
                task.exception()  # retrieved only so that asyncio does not log it
        loop = asyncio.get_running_loop()
        if isinstance(loop, Loop):
            await loop.hang_up()


async def _fetch_from_mirror(address: Address, target: Target) -> str:
    """Download the bytes that the target lacks, and return the Content-Encoding of the response."""
    async with open_response(address, target.size) as response:
        start = target.size if starts_at(response, target.size) else 0
        target.size = start
        length = response.headers.get("Content-Length", "")
        target.announce(start + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None)
        with target.open(start) as stream:
            async with aclosing(received_chunks(response)) as chunks:
                async for chunk in chunks:
                    if target.full(stream, chunk):
                        break
        return str(response.headers.get("Content-Encoding", ""))
