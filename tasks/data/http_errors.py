"""Open HTTP responses, and translate HTTP failures into errors with a short reason.

Network failures, status codes other than success, and redirects from https to plain http become a `MirrorError`.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from tasks.data.attempt_limits import MirrorError
from tasks.errors import causes
from tasks.safety.address import Address
from tasks.safety.environment import fault_on_the_way_to

_CONNECT_SECONDS = 5.0  # for TCP, then for TLS; short, so that a machine without internet fails fast
_STALL_SECONDS = 15.0  # without receiving a byte
_REDIRECTS = 5
_LONGEST = 200  # characters that are kept of a mirror's error text
_BAD_ADDRESS = "its address, a redirect target, or the proxy set in the environment is not a valid URL"
_UNREADABLE = "it sent an answer that can't be read"
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})  # a retry may succeed after these status codes


@asynccontextmanager
async def open_response(address: Address, have: int) -> AsyncIterator[httpx.Response]:
    """Open the response for an http or https URL, starting at byte `have` if the server supports it.

    The request asks for an unencoded body, and uses the proxies of the environment.

    Raises:
        MirrorError: If the request fails, the status code is not a success, a redirect leaves https, or the environment
            names a proxy or certificates that cannot be used.
    """
    if fault := fault_on_the_way_to(address):
        raise MirrorError(fault)
    headers = {"Accept-Encoding": "identity"}  # the pinned hash is that of the archive, not of an encoded form
    if have:
        headers["Range"] = f"bytes={have}-"
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [_refuse_downgrade(urlsplit(address).scheme)]}
    timeout = httpx.Timeout(_STALL_SECONDS, connect=_CONNECT_SECONDS)
    stack = AsyncExitStack()
    try:
        async with http_faults():
            client = await stack.enter_async_context(
                httpx.AsyncClient(timeout=timeout, follow_redirects=True, max_redirects=_REDIRECTS, event_hooks=hooks)
            )
            response = await stack.enter_async_context(client.stream("GET", address.reveal(), headers=headers))
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise MirrorError(f"it has no bytes after the first {have:,}", transient=True)
        if not response.is_success:
            raise _status_fault(response)
        yield response
    finally:
        async with http_faults():
            await stack.aclose()


async def received_chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    """Yield the bytes of a response as they arrive, without decoding them.

    Raises:
        MirrorError: If the connection or the answer is faulty.
    """
    async with http_faults():
        async for chunk in response.aiter_raw():
            yield chunk


def starts_at(response: httpx.Response, have: int) -> bool:
    """Return whether a response starts at byte `have`, rather than at the beginning of the file.

    Raises:
        MirrorError: If the response holds a different range than the requested one.
    """
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise MirrorError("it sent a different byte range than requested")
    return True


def _refuse_downgrade(scheme: str) -> Callable[[httpx.Request], Coroutine[Any, Any, None]]:
    """Return a request hook that rejects redirects from https to another scheme."""

    async def check(request: httpx.Request) -> None:  # async, because httpx awaits the hook
        if scheme == "https" and request.url.scheme != "https":
            raise MirrorError(f"it redirects from https to {request.url.scheme}")

    return check


@asynccontextmanager
async def http_faults() -> AsyncIterator[None]:
    """Translate every error of the HTTP library into a `MirrorError` with a short reason, which contains no address.

    An answer can make the library, and the parsers that it calls, raise errors of any type. Therefore the block must
    contain calls of the library alone: a defect in this project's own code has to stay visible.

    Raises:
        MirrorError: If the block fails.
    """
    try:
        yield
    except MirrorError:  # of the hook that checks redirects
        raise
    except httpx.TooManyRedirects:
        raise MirrorError("it redirects too many times") from None
    except httpx.ConnectTimeout:
        raise MirrorError(f"no connection within {_CONNECT_SECONDS:g} s", transient=True) from None
    except httpx.ReadTimeout:
        raise MirrorError(f"it stalled for {_STALL_SECONDS:g} s", transient=True) from None
    except httpx.UnsupportedProtocol:  # its text contains part of the address
        raise MirrorError("its address or a redirect target is not http or https", transient=True) from None
    except ImportError as error:
        raise MirrorError(f"the proxy set in the environment can't be used: {error}") from None
    except Exception as error:  # noqa: BLE001  # hostile answers raise many types of errors
        raise MirrorError(http_reason(error), transient=isinstance(error, httpx.TransportError | OSError)) from None


def http_reason(error: BaseException) -> str:
    """Return the reason for an error of the HTTP library, without any part of an address.

    The result is the first message of the operating system among the causes. If there is none, it is the text of the
    error, unless a URL parser is among the causes: its text may quote part of a password.
    """
    found = list(causes(error))
    for cause in found:
        first = cause
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, OSError) and first.strerror:
            # For a failed connection, asyncio replaces the system's message with the address.
            return os.strerror(first.errno or 0) if first.strerror.startswith("Connect call failed") else first.strerror
    if any(isinstance(cause, httpx.InvalidURL | ValueError) for cause in found):
        return _BAD_ADDRESS
    if not isinstance(error, httpx.HTTPError | OSError):
        return _UNREADABLE
    return str(error)[:_LONGEST] or type(error).__name__


def _status_fault(response: httpx.Response) -> MirrorError:
    status, wait = response.status_code, _wait_of(response.headers.get("Retry-After", ""))
    reason = f"HTTP {status} {response.reason_phrase[:_LONGEST]}" + (f", retry after {wait:.0f} s" if wait else "")
    return MirrorError(reason, transient=status in _TRANSIENT_STATUS, wait=wait)


def _wait_of(retry_after: str) -> float | None:
    """Return the delay in seconds that a Retry-After header requests.

    The header holds a number of seconds or a date (RFC 9110, section 10.2.3). The result is None if it holds neither.
    """
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
        left = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)
    except Exception:  # noqa: BLE001  # the parser raises OverflowError, too, and more in other versions of Python
        return None
    return max(0.0, left.total_seconds())
