r"""Make untrusted text safe for a terminal, a log, an HTML page or a JSON document.

Control characters, marks that change the direction of writing, and lone surrogates are written as escapes, such as
`\x1b`, `\u202e` or `\xff`. The result holds nothing that a terminal or a browser interprets as a command.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # surrogates that Python uses for undecodable bytes (surrogateescape)
_LETTERS = (
    "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"  # right to left, in blocks
)
RIGHT_TO_LEFT = re.compile(f"[{_LETTERS}](?:[{_LETTERS} \u00a0\u200c\u200d]*[{_LETTERS}])?")
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"  # FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE
_JOINERS = "\u200c\u200d"  # some scripts and emoji need them


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with unprintable characters escaped, on one line unless `keep` contains the line break.

    Examples:
        >>> print(printable("\x1b[31mred\x1b[0m"))
        \x1b[31mred\x1b[0m
    """
    if text.isprintable():
        return text
    return "".join(one if _is_plain(one) or one in keep else _escape_character(one) for one in text)


def _is_plain(character: str) -> bool:
    """Return whether a character is printable, a joiner, or a space."""
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escape_character(character: str) -> str:
    """Return a character as an escape; a surrogate for an undecodable byte becomes the escape of the byte."""
    number = ord(character)
    if _FIRST_BYTE <= number <= _LAST_BYTE:
        return f"\\x{number - _FIRST_BYTE + 0x80:02x}"
    return character.encode("unicode_escape").decode()


def isolate_right_to_left(text: str) -> str:
    r"""Return a text whose right-to-left words do not change the order of the text around them.

    Without isolation, a number or a punctuation mark after such a word is displayed before the word. See Unicode
    Standard Annex #9, section 2.7.

    Examples:
        >>> ascii(isolate_right_to_left("label \u05d0\u05d1: 100 %"))
        "'label \\u2068\\u05d0\\u05d1\\u2069: 100 %'"
    """
    return RIGHT_TO_LEFT.sub(lambda words: f"{_ISOLATE}{words[0]}{_END_ISOLATE}", text)


def in_text(path: Path | str) -> str:
    """Return a path or another text with its lone surrogates escaped, so that it can be encoded in UTF-8."""
    return _SURROGATE.sub(lambda found: _escape_character(found[0]), str(path))


def json_line(value: object) -> str:
    r"""Return a value as a JSON document on one line, in ASCII, with null for NaN and infinity.

    Examples:
        >>> print(json_line({"loss": float("nan"), "label": "é"}))
        {"loss": null, "label": "\u00e9"}
    """
    return json.dumps(_sendable(value), allow_nan=False)


def _sendable(value: object) -> object:
    """Return a value of dicts, lists and scalars with everything replaced that JSON cannot represent."""
    if isinstance(value, str):
        return in_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {in_text(str(name)): _sendable(item) for name, item in value.items()}
    return [_sendable(item) for item in value] if isinstance(value, list | tuple) else value
