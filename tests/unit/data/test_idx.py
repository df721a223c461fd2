import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tasks.data.idx import DTYPES, read_blocks, read_header
from tasks.errors import IdxFormatError
from tests.support.written import write_idx

ELEMENTS = st.sampled_from([np.dtype(name).newbyteorder("=") for name in DTYPES.values()])
ARRAYS = ELEMENTS.flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))
)


def read(content: bytes, items: int = 3) -> NDArray[np.generic]:
    stream = io.BytesIO(content)
    header = read_header(stream)
    blocks = list(read_blocks(stream, header, items))
    if not header.shape:
        return blocks[0]
    return np.concatenate([np.empty((0, *header.shape[1:]), header.dtype.newbyteorder("=")), *blocks]).reshape(
        header.shape
    )


@given(ARRAYS)
def test_every_array_comes_back_as_it_was(array: NDArray[np.generic]) -> None:
    found = read(write_idx(array))
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@given(ARRAYS, st.data())
def test_a_file_cut_anywhere_is_refused(array: NDArray[np.generic], draw: st.DataObject) -> None:
    whole = write_idx(array)
    cut = draw.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(IdxFormatError, match="ends"):
        read(whole[:cut])


@given(ARRAYS, st.binary(min_size=1, max_size=9))
def test_bytes_after_the_end_are_refused(array: NDArray[np.generic], more: bytes) -> None:
    with pytest.raises(IdxFormatError, match="more bytes"):
        read(write_idx(array) + more)


@given(st.integers(1, 0xFFFF))
def test_a_wrong_magic_number_is_refused(start: int) -> None:
    with pytest.raises(IdxFormatError, match="two zero bytes"):
        read_header(io.BytesIO(struct.pack(">HBB", start, 8, 1)))


@given(st.integers(0, 255).filter(lambda code: code not in DTYPES))
def test_an_unknown_element_type_is_refused(code: int) -> None:
    with pytest.raises(IdxFormatError, match="unknown element type"):
        read_header(io.BytesIO(struct.pack(">HBB", 0, code, 1)))


def test_a_header_that_promises_too_much_takes_no_memory() -> None:
    header = struct.pack(">HBB4I", 0, 8, 4, *[2**32 - 1] * 4)
    with pytest.raises(IdxFormatError, match="ends"):
        read(header + b"few", items=2**31)
