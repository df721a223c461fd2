"""IDX: the container format of the MNIST archives.

In: a binary stream. Out: blocks of an array, in the machine's byte order, memory flat in the number of items.
Refuses: a wrong magic number, an unknown element type, fewer or more bytes than the header promises.
Source: the format's description on the MNIST home page, section "FILE FORMATS FOR THE MNIST DATABASE".
"""

import math
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.errors import IdxFormatError

# The third byte of the magic number names the element type.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

IDX_CHUNK_BYTES = 1 << 20  # 1 MiB: large enough that unpacking, not the calls, takes the time


class Header(NamedTuple):
    """The element type, and the size of each dimension, the number of items first."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def read_header(stream: BinaryIO) -> Header:
    """Read the magic number and the sizes.

    Raises:
        IdxFormatError: the first two bytes are not zero, the type byte is unknown, or the stream ends early.
    """
    zero, code, rank = struct.unpack(">HBB", _read_exactly(stream, 4))
    if zero:
        raise IdxFormatError(f"an IDX file starts with two zero bytes, this one with {zero:#06x}")
    if code not in DTYPES:
        known = ", ".join(f"{known:#04x}" for known in DTYPES)
        raise IdxFormatError(f"unknown element type {code:#04x}; IDX has {known}")
    shape: tuple[int, ...] = struct.unpack(f">{rank}I", _read_exactly(stream, 4 * rank))
    return Header(np.dtype(DTYPES[code]), shape)


def read_blocks(stream: BinaryIO, header: Header, items: int) -> Iterator[NDArray[Any]]:
    """Read the data after the header, as arrays of shape (n, *header.shape[1:]) with n up to `items`.

    An array of rank 0 comes as one block of that rank.

    Raises:
        IdxFormatError: the stream holds fewer or more bytes than the header promises.
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
        raise IdxFormatError(f"more bytes than its header promises: {describe_header(header)}")


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes; memory is taken as they come, not as they are promised.

    Raises:
        IdxFormatError: the stream ends before.
    """
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(IDX_CHUNK_BYTES, size - len(data)))
        if not chunk:
            raise IdxFormatError(f"it ends {size - len(data):,} bytes early")
        data += chunk
    return bytes(data)


def describe_header(header: Header) -> str:
    """A header in words: the element type and the sizes."""
    return f"{header.dtype.name} of shape ({', '.join(f'{size:,}' for size in header.shape)})"
