"""Mirror: the bytes of one archive from one place, http, https or a local file.

In: an address, and a file that holds the first bytes already, or none. Out: the file with all the bytes that the place serves.
Refuses, as a MirrorFault: whatever the network does, a redirect from https to plain http, a mirror that is too slow
(tasks/data/attempt_limits.py), a file that is no regular file.

The requests run in an event loop of their own, beside a watch that looks every tenth of a second whether patience has ended or
the process has been told to stop: nothing that a mirror does, or leaves undone, can hold it for longer.
"""

import asyncio
import errno
import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tasks.data.attempt_limits import AttemptLimit, MirrorError
from tasks.data.http_errors import http_faults, open_response, starts_at
from tasks.safety.address import Address
from tasks.safety.redaction import redact_all_output
from tasks.safety.stopping import raise_if_stopping
from tasks.storage.content_files import CHUNK_BYTES, storage_errors

_WATCH_SECONDS = 0.1
_CANCEL_SECONDS = 1.0  # for a request to close its connection, which it does at once

TransferReport = Callable[
    [int, int | None], None
]  # how many bytes of the file are there, of how many, if that is known


class Target:
    """The file that a download goes into, up to one byte more than `most`."""

    def __init__(self, path: Path, most: int, patience: AttemptLimit, report: TransferReport | None = None) -> None:
        self.path, self.most, self.patience = path, most, patience
        self.report = report or (lambda _have, _total: None)
        self.size = path.stat().st_size if path.exists() else 0
        self.total: int | None = None

    @contextmanager
    def opened(self, start: int) -> Iterator[BinaryIO]:
        """The file, to be written from `start` on."""
        with storage_errors(self.path), self.path.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            self.size = start
            yield stream

    def full(self, stream: BinaryIO, chunk: bytes) -> bool:
        """Write a chunk; whether that was all that is wanted, and more."""
        with storage_errors(self.path):
            stream.write(chunk[: self.most + 1 - self.size])
        self.size += len(chunk)
        self.patience.count(len(chunk))
        self.report(min(self.size, self.most), self.total)
        return self.size > self.most

    def announce(self, total: int | None) -> None:
        """Take note of how large the file will be, as the mirror says.

        Raises:
            MirrorFault: that is more than is wanted.
            StorageError: there is no room for it.
        """
        self.total = total
        self.patience.answered()
        if self.patience.size:  # it is known, whatever the mirror says
            self.refuse_full_disk(self.patience.size)
            return
        if total is not None and total > self.most:
            raise MirrorError(f"it announces {total:,} bytes, more than the {self.most:,} that the archive can have")
        if total is not None and total - self.size > (room := _room_at(self.path)):
            raise MirrorError(f"it announces {total:,} bytes, and {self.path.parent} has room for {room:,}")
        self.patience.expect(self.most if total is None else total)

    def refuse_full_disk(self, size: int) -> None:
        """Refuse before the download what would end in the middle of it.

        Raises:
            StorageError: there is no room for so many bytes.
        """
        room, needed = _room_at(self.path), size - self.size
        if needed > room:
            with storage_errors(self.path):
                raise OSError(
                    errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {needed:,} bytes are to come, and {room:,} are free"
                )


def _room_at(path: Path) -> int:
    """The bytes that are free where a file lies."""
    with storage_errors(path):
        return shutil.disk_usage(path.parent).free


def append_chunks(
    url: str, path: Path, most: int, patience: AttemptLimit | None = None, report: TransferReport | None = None
) -> str:
    """Add to `path` what is missing of it, up to one byte more than `most`; say how it was packed on the way, if it was.

    A server that can't take up a download in its middle sends all of it, and the file begins anew. Without `patience`, it is
    that for `most` bytes.

    Raises:
        MirrorFault: the place can't be had. What has come until then stays in the file.
        StorageError: `path` can't be written.
        Interrupted: the process has been told to stop. What has come until then stays in the file.
    """
    redact_all_output()  # httpx logs the addresses that it asks, and httpcore all headers
    address = Address(url)
    target = Target(path, most, patience or AttemptLimit(most), report)
    if address.lacks_secrets:
        raise MirrorError("its user info or query values were left out; give the whole address again")
    if urlsplit(address).scheme == "file":
        _copy(address, target)
        return ""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_watch_transfer(_fetch_from_mirror(address, target), target.patience))


def _copy(address: Address, target: Target) -> None:
    """Copy a local file, if it is a regular one: a FIFO or a device might never end, or never begin.

    Raises:
        MirrorFault: it is none, or can't be read.
    """
    with _file_faults():
        path = Path(url2pathname(urlsplit(address.reveal()).path))
        _refuse_irregular(path.stat())  # before it is opened, which to some devices means something
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as source:  # noqa: PTH123  # a descriptor
        found = os.fstat(descriptor)
        _refuse_irregular(found)
        target.announce(found.st_size)
        with target.opened(0) as stream:
            while chunk := _chunk_of(source):
                raise_if_stopping()
                if target.full(stream, chunk):
                    return


def _refuse_irregular(found: os.stat_result) -> None:
    """Refuse what is no regular file.

    Raises:
        MirrorFault: it is none.
    """
    kinds = {stat.S_ISDIR: "a directory", stat.S_ISFIFO: "a FIFO", stat.S_ISSOCK: "a socket"}
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in kinds.items() if is_kind(found.st_mode)), "a device")
        raise MirrorError(f"it is {kind}, not a file")


def _chunk_of(source: BinaryIO) -> bytes:
    """The next bytes of a file."""
    with _file_faults():
        return source.read(CHUNK_BYTES)


@contextmanager
def _file_faults() -> Iterator[None]:
    """Turn what the system says of a file into a reason of a few words."""
    try:
        yield
    except (OSError, ValueError) as error:  # a path may hold a zero byte
        raise MirrorError(getattr(error, "strerror", None) or str(error)) from None


class Loop(asyncio.SelectorEventLoop):
    """An event loop that looks up names in threads which nothing waits for, and closes each connection that it has made."""

    def __init__(self) -> None:
        super().__init__()
        self.connections: list[asyncio.BaseTransport] = []

    async def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """Connect."""
        connection = await super().create_connection(*arguments, **options)
        self.connections.append(connection[0])
        return connection

    async def hang_up(self) -> None:
        """Close what is still open: of a TLS handshake that was canceled, httpcore forgets the socket."""
        for connection in self.connections:
            connection.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """Look up a name."""
        found = self.create_future()

        def settle(answer: Any, error: Exception | None) -> None:
            if found.done():  # nobody waits for it any more
                return
            if error:
                found.set_exception(error)
            else:
                found.set_result(answer)

        def look_up() -> None:
            answer, failed = None, None
            try:
                answer = socket.getaddrinfo(host, port, **options)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is for who has asked
                failed = error
            with suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(settle, answer, failed)

        threading.Thread(target=look_up, daemon=True, name="getaddrinfo").start()
        return await found


async def _watch_transfer(work: Coroutine[Any, Any, str], patience: AttemptLimit) -> str:
    """What `work` returns, unless patience ends before, or the process is told to stop.

    Raises:
        MirrorFault: it took too long, or failed.
        Interrupted: the process has been told to stop.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_WATCH_SECONDS))[0]:
            raise_if_stopping()
            patience.check()
        return task.result()
    finally:
        if task.cancel():
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
            if task.done() and not task.cancelled():
                task.exception()  # what it says of being ended is of no interest
        loop = asyncio.get_running_loop()
        if isinstance(loop, Loop):
            await loop.hang_up()


async def _fetch_from_mirror(address: Address, target: Target) -> str:
    """Fetch what is missing of the target; say how it was packed on the way, if it was."""
    async with http_faults(), open_response(address, target.size) as response:
        start = target.size if starts_at(response, target.size) else 0
        target.size = start
        length = response.headers.get("Content-Length", "")
        target.announce(start + int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None)
        with target.opened(start) as stream:
            async for chunk in response.aiter_raw():
                if target.full(stream, chunk):
                    break
        return str(response.headers.get("Content-Encoding", ""))
