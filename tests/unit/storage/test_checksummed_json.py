from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import SealError
from tasks.schemas.records import FileRecord
from tasks.storage.checksummed_json import body_of, read_sealed, seal, sealed, unseal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_is_sealed_comes_back(content: Any) -> None:
    assert unseal(seal(content)) == content


@given(st.integers(0), st.integers(1, 255))
def test_no_byte_changes_unseen(where: int, by: int) -> None:
    raw = bytearray(seal({"accuracy": 0.5, "path": "models/a"}))
    raw[where % len(raw)] ^= by
    with pytest.raises(SealError):
        unseal(bytes(raw))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(SealError):
        body_of(raw)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b"NaN1"])
def test_a_seal_around_something_else_is_refused(body: bytes) -> None:
    with pytest.raises(SealError):
        unseal(sealed(body))


def test_a_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(SealError, match="No such file"):
        read_sealed(path, FileRecord)
    path.write_bytes(seal({"path": "a"}))
    with pytest.raises(SealError, match="another version"):
        read_sealed(path, FileRecord)
    path.write_bytes(b"{}")
    with pytest.raises(SealError, match="altered"):
        read_sealed(path, FileRecord)
    path.write_bytes(seal({"path": "a", "bytes": 1, "sha256": "b"}))
    assert read_sealed(path, FileRecord) == FileRecord(path="a", bytes=1, sha256="b")
