"""Web: the answer of an http or https address, and what went wrong, in a few words.

In: an address, and how many bytes of its file are there already. Out: an open response. Refuses, as a MirrorFault: what the
network does, status codes other than success, a redirect from https to plain http.
"""

import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from tasks.data.attempt_limits import MirrorError
from tasks.errors import StorageError, causes
from tasks.safety.address import Address
from tasks.safety.environment import fault_on_the_way_to

_CONNECT_SECONDS = 5.0  # for a TCP connection, then for TLS; a machine without internet finds out soon
_STALL_SECONDS = 15.0  # without a single byte
_REDIRECTS = 5
_LONGEST = 200  # characters of what a mirror says about its failure
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})  # status codes that a later try may not meet again


@asynccontextmanager
async def open_response(address: Address, have: int) -> AsyncIterator[httpx.Response]:
    """The answer of an http or https URL, to be read exactly as served, from byte `have` on where the server can.

    Proxies are those of the environment.
    """
    _refuse_unusable(address)
    headers = {"Accept-Encoding": "identity"}  # the hash is of the archive, not of what a server makes of it
    if have:
        headers["Range"] = f"bytes={have}-"
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [_refuse_downgrade(urlsplit(address).scheme)]}
    timeout = httpx.Timeout(_STALL_SECONDS, connect=_CONNECT_SECONDS)
    async with (
        httpx.AsyncClient(
            timeout=timeout, follow_redirects=True, max_redirects=_REDIRECTS, event_hooks=hooks
        ) as client,
        client.stream("GET", address.reveal(), headers=headers) as response,
    ):
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise MirrorError(f"it has no more than the first {have:,} bytes", passing=True)
        if not response.is_success:
            raise _status_fault(response)
        yield response


def _refuse_unusable(address: Address) -> None:
    """Refuse an address that is to be reached by a proxy, or trusted by certificates, that the environment names wrongly.

    Raises:
        MirrorFault: it is one.
    """
    if fault := fault_on_the_way_to(address):
        raise MirrorError(fault)


def starts_at(response: httpx.Response, have: int) -> bool:
    """Whether a server answers with the rest that it was asked for, and not with the whole."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise MirrorError("it answers with another part than it was asked for")
    return True


def _refuse_downgrade(scheme: str) -> Callable[[httpx.Request], Coroutine[Any, Any, None]]:
    """A hook that lets no request of a redirect chain leave https."""

    async def check(request: httpx.Request) -> None:  # httpx awaits it
        if scheme == "https" and request.url.scheme != "https":
            raise MirrorError(f"it redirects from https to {request.url.scheme}")

    return check


@asynccontextmanager
async def http_faults() -> AsyncIterator[None]:
    """Turn what httpx raises into a reason of a few words; an address stands in none of them."""
    try:
        yield
    except StorageError:
        raise
    except httpx.TooManyRedirects:
        raise MirrorError("it redirects in a circle") from None
    except httpx.ConnectTimeout:
        raise MirrorError(f"no connection within {_CONNECT_SECONDS:g} s", passing=True) from None
    except httpx.ReadTimeout:
        raise MirrorError(f"it stalled for {_STALL_SECONDS:g} s", passing=True) from None
    except httpx.UnsupportedProtocol as error:
        raise MirrorError(str(error), passing=True) from None
    except (httpx.HTTPError, OSError) as error:
        raise MirrorError(_http_reason(error), passing=isinstance(error, httpx.TransportError | OSError)) from None
    except ImportError as error:
        raise MirrorError(f"the proxy of the environment can't be used: {error}") from None
    except (httpx.InvalidURL, ValueError):  # what they say may hold a part of a password
        raise MirrorError("its address, one that it redirects to, or the proxy of the environment is no URL") from None


def _http_reason(error: BaseException) -> str:
    """The first cause of an error of the network: what the system has said, where it has."""
    said = str(error)
    for cause in causes(error):
        first = cause
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, OSError) and first.strerror:
            # asyncio puts the address of a connection that failed in the place of the system's words.
            return os.strerror(first.errno or 0) if first.strerror.startswith("Connect call failed") else first.strerror
    return said[:_LONGEST] or type(error).__name__


def _status_fault(response: httpx.Response) -> MirrorError:
    """What a status code other than success says."""
    status, wait = response.status_code, _wait_of(response.headers.get("Retry-After", ""))
    reason = f"HTTP {status} {response.reason_phrase[:_LONGEST]}" + (
        f", to be tried again in {wait:.0f} s" if wait else ""
    )
    return MirrorError(reason, passing=status in _TRANSIENT_STATUS, wait=wait)


def _wait_of(retry_after: str) -> float | None:
    """The seconds that a Retry-After header asks to wait, which gives a number of them or a date (RFC 9110, 10.2.3)."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
