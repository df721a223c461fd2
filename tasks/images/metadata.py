"""Metadata: taken off a PNG or JPEG file before it is decoded, so that none of it can refuse a picture.

In: the bytes of a file. Out: the parts that hold pixels, and the Exif block, of which only the orientation is ever used. A
fault in a text, a profile, a gamma value or an Exif block is not in the pixels: viewers show such a picture, Pillow refuses it.
Sources: W3C, "Portable Network Graphics (PNG) Specification", sections 5 and 11; ITU T.81, "JPEG", annex B.
"""

import zlib
from collections.abc import Iterator

from PIL import Image

from tasks.errors import PictureError

DAMAGED = "its pixels are damaged or cut off: save or copy it again"
_PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4)
_EXIF = b"Exif\0\0"
_ADOBE = 0xEE  # the one application segment that says how pixels are stored: RGB, YCbCr or inverted CMYK
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD})  # frames, tables and scans
_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def strip_metadata(content: bytes) -> tuple[list[memoryview | bytes], bytes]:
    """The parts of a picture's file that hold pixels, and its Exif block; of other formats, the whole file and nothing."""
    if content.startswith(_PNG):
        return _strip_png(content)
    if content.startswith(JPEG):
        return _strip_jpeg(content)
    return [content], b""


def _strip_png(content: bytes) -> tuple[list[memoryview | bytes], bytes]:
    """A PNG's critical chunks and its transparency, with its end if that is missing. An animation keeps its first image only.

    Raises:
        PictureError: a critical chunk is not what its checksum says.
    """
    kept: list[memoryview | bytes] = [_PNG]
    exif = b""
    view = memoryview(content)
    for kind, start, end in _chunks(content):
        if kind == b"IEND":
            break
        data, checksum = view[start + 8 : end - 4], view[end - 4 : end]
        if kind == b"eXIf":
            exif = bytes(data)
        elif kind == b"tRNS" or not kind[0] & 0x20:  # a capital letter: critical
            if end - 4 > len(content):
                return [*kept, view[start:]], exif  # cut off within
            right = zlib.crc32(data, zlib.crc32(kind)).to_bytes(4)
            if right.startswith(checksum) and (data or kind != b"tRNS"):  # the checksum itself may be cut off
                kept += [view[start : end - 4], right]
            elif kind != b"tRNS":
                raise PictureError(DAMAGED)
    return [*kept, _PNG_END], exif


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk of a PNG, where it starts and where it should end."""
    start = len(_PNG)
    while start + 8 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4])
        yield content[start + 4 : start + 8], start, end
        start = end


def _strip_jpeg(content: bytes) -> tuple[list[memoryview | bytes], bytes]:
    """A JPEG's tables, frames and scans. What lies between them and is none of these is passed over, as libjpeg does."""
    kept: list[memoryview | bytes] = [content[:2]]
    exif = b""
    view = memoryview(content)
    start = content.find(b"\xff", 2)
    while 0 <= start < len(content) - 3:
        marker = content[start + 1]
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        if marker == 0xDA:  # a scan: all the rest is entropy-coded
            kept.append(view[start:])
            break
        if marker in _FRAMES or marker == _ADOBE:
            kept.append(view[start:end])
        elif marker == 0xE1 and view[start + 4 : start + 10] == _EXIF:
            exif = bytes(view[start + 4 : end])
        elif not 0xE0 <= marker <= 0xFE:  # neither an application's segment nor a comment
            end = start + 1
        start = content.find(b"\xff", end)
    return kept, exif


def turn_upright(image: Image.Image, exif: bytes) -> Image.Image:
    """A picture upright, as its Exif block has it; as it is where that block is missing or broken."""
    image.load()  # which turns a TIFF, and takes its orientation away
    try:
        found = Image.Exif() if exif else image.getexif()
        if exif:
            found.load(exif)
        turn = TURNS.get(found.get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # Pillow raises whatever it meets in such a block
        turn = None
    return image if turn is None else image.transpose(turn)
