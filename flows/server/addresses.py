"""The addresses of a server that this project starts: the names that clients may use, and the form of its host in URLs.

`mnist serve` checks its options with these functions before it starts anything, so they need no library of the server.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

from tasks.errors import InputError
from tasks.safety.redaction import public_address

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # only compared, never bound
_NAMED = re.compile(r"(?P<name>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>\d{1,5}))?")
_PORTS = range(1, 65536)
_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Addresses(NamedTuple):
    """The allowed `Host` headers of a server and the origins of its own pages, all in lower case."""

    hosts: frozenset[str]
    origins: frozenset[str]


def allowed_addresses(host: str, port: int, allowed: Iterable[str] = ()) -> Addresses:
    """Return the addresses of a server that is bound to `host` and `port`.

    Args:
        host: Address or name that the server is bound to.
        port: Port that the server is bound to.
        allowed: Additional names of the server, as HOST or HOST:PORT. A name without a port covers the server's own
            port and the standard ports, where a proxy answers.

    Raises:
        InputError: If a name is not HOST or HOST:PORT.
    """
    hosts = {f"{name}:{port}" for name in _host_names(host)}
    if port == 80:  # browsers omit the default port
        hosts |= _host_names(host)
    origins = {f"http://{one}" for one in hosts}
    for text in allowed:
        found = _NAMED.fullmatch(text.lower())
        if not found or int(found["port"] or 1) not in _PORTS:
            raise InputError(
                f"--allowed-host must be HOST or HOST:PORT, such as mnist.example.org, got {public_address(text)!r}"
            )
        name = found["name"]
        if found["port"]:
            hosts |= {f"{name}:{found['port']}"} | ({name} if found["port"] in {"80", "443"} else set())
            origins |= {f"{scheme}://{name}:{found['port']}" for scheme in ("http", "https")}
            origins |= {"80": {f"http://{name}"}, "443": {f"https://{name}"}}.get(found["port"], set())
        else:
            hosts |= {name, f"{name}:80", f"{name}:443", f"{name}:{port}"}
            origins |= {f"https://{name}", f"http://{name}:{port}"}
    return Addresses(frozenset(hosts), frozenset(origins))


def canonical(host: str) -> str:
    """Return a host in the form that clients send: an address in its shortest form, a name in ASCII.

    Raises:
        InputError: If a URL can't contain the host.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare:
        raise InputError("--host must be an address or the name of this machine, got an empty string")
    try:
        found = str(socket.getaddrinfo(bare, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        try:
            return bare.encode("idna").decode().lower()
        except UnicodeError as error:
            raise InputError(f"--host must be an address or the name of this machine, got {host!r}") from error
    if "%" in bare:
        raise InputError(f"--host {host}: an address with a zone can't be part of a URL; give :: or another address")
    address = ipaddress.ip_address(found)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _host_names(host: str) -> set[str]:
    """Return the host names of a bound address: all interfaces for a wildcard address, LOOPBACK for loopback."""
    name = url_host(host.lower())
    if name in LOOPBACK:
        return set(LOOPBACK)
    if host not in _WILDCARDS:
        return {name}
    import psutil  # noqa: PLC0415  # needed only for a wildcard address

    found = {one.address for each in psutil.net_if_addrs().values() for one in each if one.family in _INTERNET}
    return {*LOOPBACK, socket.gethostname().lower(), *(url_host(one) for one in found if "%" not in one)}


def url_host(host: str) -> str:
    """Return a host in the form that a URL requires, with brackets around an IPv6 address."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
