"""Remove secrets from text.

User info and query values of addresses, and the secrets that this process knows, are replaced by `***`. The known
secrets come from addresses (tasks/safety/address.py) and from the environment. This module is the last line of
defense: addresses have their own type.
"""

import base64
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from tasks.safety.plain_text import printable
from tasks.safety.stopping import STOPPING

MASK = "***"
_SHORTEST = 8  # characters; shorter values such as "run" or "admin" occur in many texts
_MAX_CACHED = 1024  # secrets whose forms are kept; every log record needs them

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*:)?(/*)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:/+[^\s'\"<>`|]+")
_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:(\d*|PORT))?")  # our own messages contain HOST:PORT
_CLOSING = ".,:;)]}…"  # punctuation that may follow an address in a sentence

_SECRET_NAMES = re.compile(
    # Match at ends of words, but not in variables that only name a secret: not TOKENIZERS_PARALLELISM, not SECRET_NAME.
    r"(SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|API_KEY|ACCESS_KEY|PRIVATE_KEY|AUTH_STRING|CUSTOM_HEADERS|WEBHOOK)S?"
    r"(?![A-Z])(?!\w*_(NAME|TYPE|REGION)$)",
    re.IGNORECASE,
)

# Names of passwords, whatever their values are: MYSQL_PWD, but neither PWD nor OLDPWD.
_PASSWORD_NAMES = re.compile(r"(^|_)PASS$|_PWD$", re.IGNORECASE)
# Names of secrets that also have other uses, as in SORT_KEY=created_at: a value of letters alone is not masked.
_KEY_NAMES = re.compile(r"(^|_)(AUTH|KEY|PAT)(_?\d+)?$", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z _.\-]*")

_HEADERS = "Authorization|Proxy-Authorization|Cookie|Set-Cookie|X-API-Key|X-Amz-Security-Token"
_QUOTED_HEADER = re.compile(  # as in a dictionary, in JSON within JSON, or in the pairs of bytes of httpcore
    rf"""(?<![\w-])({_HEADERS}|Location)(\\?['"]\s*[:,]\s*b?(\\?['"]))(?:\\.|[^\\\r\n])*?\3""", re.IGNORECASE
)
_PLAIN_HEADER = re.compile(  # "location" also occurs in sentences
    rf"""((?<![\w-])({_HEADERS})|(^[<>\s]*|[<>] |['"])Location):[ \t]*[^\r\n]+""", re.IGNORECASE | re.MULTILINE
)
# Error messages of URL parsers: the "port" or "host" that they quote may be part of a password.
_PARSER_TEXT = re.compile(
    r"(Invalid (?:port|IPv[46] address|IDNA hostname|IPv6 URL)|Port could not be cast to integer value as"
    r"|invalid literal for int\(\) with base 10)(: | )?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
)

_known: set[str] = set()


class UrlParts(NamedTuple):
    """The parts of an address: its scheme with slashes, the user info if any, the host and port, and the rest."""

    scheme: str
    user: str | None
    authority: str
    tail: str


def _parts_of(address: str) -> UrlParts | None:
    """Split an address, even a malformed one, into its parts; return None for a path.

    A password may contain characters that end the authority.
    """
    match = _SCHEME.match(address)
    scheme, slashes = (match[1] or "", match[2]) if match else ("", "")
    rest = address[len(scheme) + len(slashes) :]
    if not slashes or (not scheme and slashes != "//"):
        bare = not _DRIVE.match(address) and re.match(r"[^/]*:.*@", address, re.DOTALL)
        return _after_user("", address) if bare else None
    authority, tail = _cut_secrets(rest)
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    odd = (slashes != "//" and scheme.lower() != "file:") or not _PORT.fullmatch(authority.rpartition("@")[2])
    if "@" in tail and odd and "@" not in authority:
        return _after_user(scheme + slashes, rest)
    if "@" in authority and "@" in path:  # more likely a password with @ and / than a path with @
        found = _after_user("", authority + path)
        return UrlParts(scheme + slashes, found.user, found.authority, found.tail + tail[len(path) :])
    user, at, authority = authority.rpartition("@")
    return UrlParts(scheme + slashes, user if at else None, authority, tail)


def _after_user(scheme: str, rest: str) -> UrlParts:
    """Split an address in which everything before the last @ is user info."""
    user, _, rest = rest.rpartition("@")
    return UrlParts(scheme, user, *_cut_secrets(rest))


def _cut_secrets(rest: str) -> tuple[str, str]:
    """Split the text after a scheme at the end of its authority."""
    end = re.search(r"[/?#]", rest)
    return (rest[: end.start()], rest[end.start() :]) if end else (rest, "")


def public_address(address: str) -> str:
    """Return the public form of an address: without user info, query values and fragment.

    A path is returned unchanged.

    Examples:
        >>> public_address("https://me:secret@host/mnist/?token=123#part")
        'https://***@host/mnist/?token=***#***'
        >>> public_address("archives/a=b?c")
        'archives/a=b?c'
    """
    parts = _parts_of(address)
    if parts is None:
        return address
    user = "" if parts.user is None else f"{MASK}@"
    host = parts.authority if _PORT.fullmatch(parts.authority) else f"{parts.authority.partition(':')[0]}:{MASK}"
    return f"{parts.scheme}{user}{host}{_with_masked_values(parts.tail)}"


def _with_masked_values(tail: str) -> str:
    """Mask the values of parameters and the fragment in the path, query and fragment of an address."""
    tail, hash_, fragment = tail.partition("#")
    path, mark, query = tail.partition("?")
    path = re.sub(r"(;[^/;=]*)=[^/;]*", rf"\1={MASK}", path)
    values = "&".join(_masked_parameter(one) for one in query.split("&")) if query else ""
    return f"{path}{mark}{values}{hash_}{MASK if fragment else ''}"


def _masked_parameter(parameter: str) -> str:
    """Mask the value of a query parameter, or the whole parameter if it has no name."""
    name, equals, _ = parameter.partition("=")
    return f"{name}={MASK}" if equals else MASK


def _secrets_in(address: str) -> Iterator[str]:
    """Yield the parts of an address that `public_address` masks, as written and as HTTP sends them."""
    parts = _parts_of(address)
    if parts is None:
        return
    if parts.user is not None:
        user, _, password = parts.user.partition(":")
        yield from (parts.user, password or user)
        yield from re.split(r"[/?#:@]", parts.user)  # a parser may take a piece for the host or the port
        yield _basic(f"{unquote(user)}:{unquote(password)}")
    for parameter in re.split(r"[?&#]", parts.tail)[1:]:
        name, equals, value = parameter.partition("=")
        yield value if equals else name


def _basic(pair: str) -> str:
    """Return `user:password` as the header `Authorization: Basic` sends it."""
    return base64.b64encode(pair.encode(errors="surrogateescape")).decode()


def add_secret(*values: str) -> None:
    """Mask these values in all later output of this process; values that are too short are not masked."""
    _known.update(form for value in values for form in _forms(value))


@lru_cache(maxsize=_MAX_CACHED)
def _forms(value: str) -> frozenset[str]:
    """Return the forms in which a secret may appear in a text: as is, or encoded for URLs, HTML, JSON or Python.

    A secret of several lines is masked line by line, because a text may hold a part of it, or other line breaks. Lines
    such as `-----BEGIN PRIVATE KEY-----` are not secret.
    """
    lines = [line.strip() for line in value.splitlines()]
    several = [line for line in lines if not line.startswith("-----")] if len(lines) > 1 else []
    plain = {form for one in (value, *several) for form in (one, unquote(one))}
    written = {form for one in plain for form in (json.dumps(one)[1:-1], repr(one)[1:-1])}
    sent = {form for one in (value, *several) for form in (quote(one, safe=""), quote(one), escape(one))}
    return frozenset(
        one for one in plain | written | sent if len(one) >= _SHORTEST and MASK not in one and not one.isspace()
    )


@lru_cache(maxsize=4)  # every log record needs them, and the environment rarely changes
def _environment_forms(environ: tuple[tuple[str, str], ...]) -> frozenset[str]:
    """Return the forms of the secrets in an environment."""
    return frozenset(form for value in environment_secrets(dict(environ)) for form in _forms(value))


def add_address_secrets(address: str) -> None:
    """Mask the secrets of an address in all later output of this process."""
    add_secret(*_secrets_in(address))


def environment_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in an environment, found by the names of variables or inside addresses."""
    for name, value in environ.items():
        if "://" in value:
            yield from _secrets_in(value)
        if _holds_secret(name, value):
            yield from _pieces_of(value)


def _holds_secret(name: str, value: str) -> bool:
    """Return whether a variable's value is a secret, judged by its name; the path of an existing file is not."""
    named = bool(_SECRET_NAMES.search(name) or _PASSWORD_NAMES.search(name))
    named = named or bool(_KEY_NAMES.search(name) and not _WORDS.fullmatch(value))
    return named and not (value.startswith("/") and Path(value).exists())


def _pieces_of(value: str) -> Iterator[str]:
    """Yield a secret and those of its parts that are secret on their own.

    The parts are the password after a user name, also as HTTP sends the two, the values of headers in JSON, and the
    path of a URL.
    """
    yield value
    if "://" in value:  # the secret of a webhook is its path
        yield value.partition("://")[2].partition("/")[2]
        return
    if ":" in value:
        yield from (value.partition(":")[2], _basic(value))
    with suppress(ValueError, RecursionError):  # not JSON, or nested too deeply
        for header in _leaves_of(json.loads(value)):
            yield from (header, *header.split())


def _leaves_of(found: Any) -> Iterator[str]:
    """Yield the scalar values of a JSON document at any depth, as strings."""
    if isinstance(found, dict | list):
        for one in found.values() if isinstance(found, dict) else found:
            yield from _leaves_of(one)
    else:
        yield str(found)


def redact(text: str) -> str:
    """Return a text with every address in its public form and every known secret masked.

    The values of headers that hold credentials, and the values that error messages of URL parsers quote, are masked
    even if unknown.
    """
    text = _PARSER_TEXT.sub(rf"\1\2{MASK}", text)
    text = _QUOTED_HEADER.sub(rf"\1\2{MASK}\3", text)
    text = _PLAIN_HEADER.sub(rf"\1: {MASK}", text)
    text = _URL.sub(lambda match: _public_in_a_sentence(match[0]), text)
    known = _known | _environment_forms(tuple(os.environ.items()))
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def redacted_values(found: Any) -> Any:
    """Return the values of a JSON document with every string redacted, at any depth; the keys stay."""
    if isinstance(found, dict):
        return {key: redacted_values(one) for key, one in found.items()}
    if isinstance(found, list | tuple):
        return [redacted_values(one) for one in found]
    return redact(found) if isinstance(found, str) else found


def _public_in_a_sentence(found: str) -> str:
    """Return the public form of an address that may be followed by punctuation."""
    address = found.rstrip(_CLOSING)
    if not re.search(r"[@?;=]", address):  # a fragment alone, as in a link to documentation, is not secret
        return found
    return public_address(address) + found[len(address) :]


def redact_all_output() -> None:
    """Redact every log record and the traceback of every uncaught error in this process."""
    if getattr(logging.getLogRecordFactory(), "redacts", False):
        return
    logging.setLogRecordFactory(Redacting(logging.getLogRecordFactory()))
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show_redacted
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _show_of_thread


class Redacting:
    """Factory of log records whose message, arguments and traceback are redacted and free of control characters."""

    redacts = True

    def __init__(self, factory: Any) -> None:
        self.factory = factory

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Create a log record and redact it."""
        record: logging.LogRecord = self.factory(*args, **kwargs)
        try:
            self.clean(record)
        except Exception:  # noqa: BLE001  # the message does not match its arguments; logging reports that
            return record
        return record

    @staticmethod
    def clean(record: logging.LogRecord) -> None:
        """Redact a record in place."""
        message = record.getMessage()
        if _logged(message) != message:
            if isinstance(record.args, tuple):  # some formatters need the separate arguments
                record.args = tuple(_logged(str(one)) if _logged(str(one)) != str(one) else one for one in record.args)
            if _logged(record.getMessage()) != record.getMessage():
                record.msg, record.args = _logged(record.getMessage()), ()
        if record.exc_info and record.exc_info[0]:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if _logged(text) != text:
                record.exc_text = _logged(text)


def _logged(text: str) -> str:
    """Return a text redacted and escaped for a log, with its line breaks."""
    return printable(redact(text), keep="\n\t")


def _show_of_thread(raised: threading.ExceptHookArgs) -> None:
    """Print the redacted traceback of a thread, unless the process was asked to stop."""
    if not STOPPING.is_set():
        show_redacted(raised.exc_type, raised.exc_value, raised.exc_traceback)


def show_redacted(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print a redacted traceback on standard error."""
    if sys.stderr:
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
