from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ChecksumError
from tasks.schemas.records import FileRecord
from tasks.storage.checksummed_json import (
    add_checksum,
    checked_body,
    dump_with_checksum,
    load_with_checksum,
    read_checksummed,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_content_with_a_checksum_is_read_back(content: Any) -> None:
    assert load_with_checksum(dump_with_checksum(content)) == content


@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_is_detected(where: int, by: int) -> None:
    raw = bytearray(dump_with_checksum({"accuracy": 0.5, "path": "models/a"}))
    raw[where % len(raw)] ^= by
    with pytest.raises(ChecksumError):
        load_with_checksum(bytes(raw))


@given(st.binary(max_size=200))
def test_content_without_a_checksum_is_rejected(raw: bytes) -> None:
    with pytest.raises(ChecksumError):
        checked_body(raw)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b"NaN1"])
def test_a_valid_checksum_of_other_content_is_rejected(body: bytes) -> None:
    with pytest.raises(ChecksumError):
        load_with_checksum(add_checksum(body))


def test_a_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ChecksumError, match="No such file"):
        read_checksummed(path, FileRecord)
    path.write_bytes(dump_with_checksum({"path": "a"}))
    with pytest.raises(ChecksumError, match="another version"):
        read_checksummed(path, FileRecord)
    path.write_bytes(b"{}")
    with pytest.raises(ChecksumError, match="altered"):
        read_checksummed(path, FileRecord)
    path.write_bytes(dump_with_checksum({"path": "a", "bytes": 1, "sha256": "b"}))
    assert read_checksummed(path, FileRecord) == FileRecord(path="a", bytes=1, sha256="b")
