"""Sealed documents: JSON that holds the SHA-256 of itself, so that no byte of it can change unseen.

In: what JSON can hold. Out: bytes; and back. Refuses: bytes that are not exactly what was sealed.
A seal is against accidents, not against a forger, who could seal anew: who may write under the root is trusted.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.base import Frozen
from tasks.errors import ChecksumError
from tasks.storage.backend import Root, read_whole
from tasks.storage.content_files import atomic_write

_HEAD = b'{"sha256": "'
_BODY = b'",\n"content": '
_TAIL = b"}\n"
_DIGEST = 64  # hex digits

ChecksummedModel = TypeVar("ChecksummedModel", bound=Frozen)


def dump_with_checksum(content: Any) -> bytes:
    """A JSON document around `content`, with the SHA-256 of the content's own bytes."""
    return add_checksum(json.dumps(content, indent=1).encode())


def add_checksum(body: bytes) -> bytes:
    """As `dump_with_checksum`, for content that is JSON already."""
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _BODY + body + _TAIL


def load_with_checksum(raw: bytes) -> Any:
    """What was sealed.

    Raises:
        ChecksumError: a byte is missing, added or changed.
    """
    try:
        return json.loads(checked_body(raw))
    except (ValueError, RecursionError) as error:  # only where something else than our JSON was sealed
        raise ChecksumError(f"it holds no JSON: {error}") from error


def checked_body(raw: bytes) -> bytes:
    """The bytes of the content.

    Raises:
        ChecksumError: a byte is missing, added or changed.
    """
    start = len(_HEAD) + _DIGEST + len(_BODY)
    digest, body = raw[len(_HEAD) : len(_HEAD) + _DIGEST], raw[start : -len(_TAIL)]
    if raw != _HEAD + digest + _BODY + body + _TAIL or digest != hashlib.sha256(body).hexdigest().encode():
        raise ChecksumError("it was altered, or another version of this program wrote it")
    return body


def may_be_checksummed(path: Root) -> bool:
    """Whether a file begins as a sealed one does, be it altered or not, or can't be read."""
    try:
        return read_whole(path).startswith(_HEAD)
    except OSError:
        return not isinstance(path, Path) or path.is_file()


def read_checksummed(path: Root, model: type[ChecksummedModel]) -> ChecksummedModel:
    """The value that a file holds.

    Raises:
        ChecksumError: the file can't be read, was altered, or holds another value than expected.
    """
    try:
        return model.model_validate_json(read_checked_body(path))
    except ValidationError as error:
        raise ChecksumError(f"{path}: another version of this program wrote it") from error


def read_checked_body(path: Root) -> bytes:
    """The bytes of the content of a sealed file.

    Raises:
        ChecksumError: the file can't be read, or was altered; the message names it.
    """
    try:
        return checked_body(read_whole(path))
    except ChecksumError as error:
        raise ChecksumError(f"{path}: {error}") from error
    except OSError as error:
        raise ChecksumError(f"{path}: {error.strerror or error}") from error


def write_checksummed(path: Root, value: Frozen, *, new: bool = False) -> None:
    """Write a value to a file, sealed and whole; with `new`, a file that is there already stays as it is.

    Raises:
        StorageError: it can't be written.
        FileExistsError: it should be new, and is not.
    """
    with atomic_write(path, new=new) as stream:
        stream.write(add_checksum(value.model_dump_json(indent=1).encode()))
