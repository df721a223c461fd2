r"""Plain: texts of users as the texts that they are, whatever they hold, for a terminal, a log, a page or a JSON document.

In: any string. Out: one in which a terminal or a browser finds nothing to obey: a control character, a mark that turns the
direction of writing, or half a character is written as an escape, such as `\x1b`, `\u202e` or `\xff`.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF  # what Python puts in the place of a byte that is not of the encoding
_JOINERS = "\u200c\u200d"  # some scripts and emoji need them


def printable(text: str, keep: str = "") -> str:
    """A text as a person may be shown it, in one line unless `keep` holds the line break."""
    if text.isprintable():
        return text
    return "".join(one if _is_plain(one) or one in keep else _escape_character(one) for one in text)


def _is_plain(character: str) -> bool:
    """Whether a character is a letter, a sign or a space, and nothing else."""
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escape_character(character: str) -> str:
    """A character as an escape; of a byte that is none, the byte."""
    number = ord(character)
    if _FIRST_BYTE <= number <= _LAST_BYTE:
        return f"\\x{number - _FIRST_BYTE + 0x80:02x}"
    return character.encode("unicode_escape").decode()


def in_text(path: Path | str) -> str:
    """A path, or another text, as every program can take it: a byte that is not of the encoding is written as an escape."""
    return _SURROGATE.sub(lambda found: _escape_character(found[0]), str(path))


def json_line(value: object) -> str:
    """A value as a JSON document of one line: ASCII, which is valid UTF-8 everywhere, and null for what is no number."""
    return json.dumps(_sendable(value), allow_nan=False)


def _sendable(value: object) -> object:
    """A value of dicts, lists and scalars without what JSON can't say."""
    if isinstance(value, str):
        return in_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {in_text(str(name)): _sendable(item) for name, item in value.items()}
    return [_sendable(item) for item in value] if isinstance(value, list | tuple) else value
