"""Write and read JSON documents that contain the SHA-256 of their content, so that any change is detected.

The checksum protects against accidents, not against forgery: anyone who may write under the root is trusted and could
compute a new checksum.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from tasks.base import Frozen
from tasks.errors import ChecksumError
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root, matching, name_under
from tasks.storage.content_files import file_record
from tasks.storage.storage import storage_of

_HEAD = b'{"sha256": "'
_BODY = b'",\n"content": '
_TAIL = b"}\n"
_DIGEST = 64  # hex digits

ChecksummedModel = TypeVar("ChecksummedModel", bound=Frozen)
NamedModel = TypeVar("NamedModel", bound="ContentNamed")


def dump_with_checksum(content: Any) -> bytes:
    """Return a JSON document with `content` and the SHA-256 of the serialized content."""
    return add_checksum(json.dumps(content, indent=1).encode())


def add_checksum(body: bytes) -> bytes:
    """Return the document that `dump_with_checksum` returns, for content that is already JSON."""
    return _HEAD + hashlib.sha256(body).hexdigest().encode() + _BODY + body + _TAIL


def load_with_checksum(raw: bytes) -> Any:
    """Return the content of a document.

    Raises:
        ChecksumError: If a byte is missing, added or changed, or if the content is not JSON.
    """
    try:
        return json.loads(checked_body(raw))
    except (ValueError, RecursionError) as error:  # only if the content that got the checksum is not our JSON
        raise ChecksumError(f"it does not hold JSON: {error}") from error


def checked_body(raw: bytes) -> bytes:
    """Return the serialized content of a document.

    Raises:
        ChecksumError: If a byte is missing, added or changed.
    """
    start = len(_HEAD) + _DIGEST + len(_BODY)
    digest, body = raw[len(_HEAD) : len(_HEAD) + _DIGEST], raw[start : -len(_TAIL)]
    if raw != _HEAD + digest + _BODY + body + _TAIL or digest != hashlib.sha256(body).hexdigest().encode():
        raise ChecksumError("it was altered, or another version of this program wrote it")
    return body


def may_be_checksummed(path: Root) -> bool:
    """Return whether a file may be a document with a checksum.

    This is the case if it starts like such a document, altered or not, or if it exists but cannot be read.
    """
    storage = storage_of(path)
    try:
        return storage.read_whole().startswith(_HEAD)
    except OSError:
        return storage.may_be_file()


def read_checksummed(path: Root, model: type[ChecksummedModel]) -> ChecksummedModel:
    """Read a file and return its content as a value of the given model.

    Raises:
        ChecksumError: If the file cannot be read, was altered, or does not match the model.
    """
    try:
        return model.model_validate_json(read_checked_body(path))
    except ValidationError as error:
        raise ChecksumError(f"{path}: another version of this program wrote it") from error


def read_checked_body(path: Root) -> bytes:
    """Return the serialized content of a file with a checksum.

    Raises:
        ChecksumError: If the file cannot be read or was altered; the message names the file.
    """
    try:
        return checked_body(storage_of(path).read_whole())
    except OSError as error:  # a ChecksumError is one, without `strerror`
        raise ChecksumError(f"{path}: {error.strerror or error}") from error


class ContentNamed(Frozen):
    """A document whose file is named by its content."""

    folder: ClassVar[str]

    @property
    def name(self) -> str:
        """The path of the document under the root."""
        return f"{self.folder}/{hashlib.sha256(self.model_dump_json(indent=1).encode()).hexdigest()[:16]}.json"


def valid_documents(root: Root, kind: type[NamedModel]) -> Iterator[tuple[FileRecord, NamedModel]]:
    """Yield the file and the content of each valid document whose name matches its content."""
    for path in matching(root, f"{kind.folder}/*.json"):
        try:
            raw = storage_of(path).read_whole()
            found = kind.model_validate_json(checked_body(raw))
        except (OSError, ValidationError):  # a ChecksumError is an OSError
            continue
        name = name_under(root, path)
        if name == found.name:
            yield file_record(name, raw), found


def write_checksummed(root: Root, name: str, value: Frozen, *, new: bool = False) -> None:
    """Write a value to a file under the root with a checksum, atomically.

    If the file must be `new`, an existing file stays unchanged.

    Raises:
        StorageError: If the file cannot be written.
        FileExistsError: If `new` is set and the file exists.
    """
    with storage_of(root).atomic_write(name, new=new) as stream:
        stream.write(add_checksum(value.model_dump_json(indent=1).encode()))
