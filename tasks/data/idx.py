"""Decode IDX, the container format of the MNIST archives.

Arrays are read in blocks and in native byte order; memory use does not depend on the number of items.
Source: MNIST home page, section "FILE FORMATS FOR THE MNIST DATABASE".
"""

import math
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.errors import IdxFormatError

# Element types by the third byte of the magic number.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

IDX_CHUNK_BYTES = 1 << 20  # 1 MiB: large enough that decompression takes longer than the calls


class Header(NamedTuple):
    """Element type of an IDX file, and the size of each dimension, with the number of items first."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def read_header(stream: BinaryIO) -> Header:
    """Read the magic number and the dimensions.

    Raises:
        IdxFormatError: If the first two bytes are not zero, the type code is unknown, or the stream ends early.
    """
    zero, code, rank = struct.unpack(">HBB", _read_exactly(stream, 4))
    if zero:
        raise IdxFormatError(f"expected two zero bytes at the start of an IDX file, got {zero:#06x}")
    if code not in DTYPES:
        known = ", ".join(f"{known:#04x}" for known in DTYPES)
        raise IdxFormatError(f"unknown element type {code:#04x}; IDX defines {known}")
    shape: tuple[int, ...] = struct.unpack(f">{rank}I", _read_exactly(stream, 4 * rank))
    return Header(np.dtype(DTYPES[code]), shape)


def read_blocks(stream: BinaryIO, header: Header, items: int) -> Iterator[NDArray[Any]]:
    """Yield the data after the header as arrays of shape (n, *header.shape[1:]), where n is at most `items`.

    An array of rank 0 is a single block of rank 0.

    Raises:
        IdxFormatError: If the stream holds fewer or more bytes than the header announces.
    """
    item = header.dtype.itemsize * math.prod(header.shape[1:])
    count = header.shape[0] if header.shape else 1
    for start in range(0, count if item else 0, items):
        n = min(items, count - start)
        flat = np.frombuffer(_read_exactly(stream, n * item), header.dtype).astype(
            header.dtype.newbyteorder("="), copy=False
        )
        yield flat.reshape((n, *header.shape[1:]) if header.shape else ())
    if stream.read(1):
        raise IdxFormatError(f"more bytes than its header announces: {describe_header(header)}")


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes from a stream.

    Memory is allocated for the bytes that were read, not for the size that the header announces.
    """
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(IDX_CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise IdxFormatError(f"it ends {size - len(data):,} bytes early")
        data += chunk
    return bytes(data)


def describe_header(header: Header) -> str:
    """Return a header in words: the element type and the dimensions."""
    return f"{header.dtype.name} of shape ({', '.join(f'{size:,}' for size in header.shape)})"
