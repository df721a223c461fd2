"""Strip metadata from PNG and JPEG files, so that faulty metadata does not make a picture unreadable.

Pillow rejects a picture with a fault in a text, a profile, a gamma value or an Exif block, although its pixels are
intact and viewers show it. Of the Exif block, only the orientation is used.
Sources: W3C, "Portable Network Graphics (PNG) Specification", sections 5 and 11; ITU T.81, "JPEG", annex B.
"""

import zlib
from collections.abc import Iterator
from itertools import count

from PIL import Image

from tasks.errors import PictureError

DAMAGED = "its pixels are damaged or incomplete: save or copy it again"
_PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"\0\0\0\0IEND" + zlib.crc32(b"IEND").to_bytes(4)
_EXIF = b"Exif\0\0"
_ADOBE = 0xEE  # only application segment that defines how pixels are stored: RGB, YCbCr, inverted CMYK
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD})  # frames, tables and scans
_MAX_PARTS = 200_000  # chunks or segments; 256 MB in chunks of 8 KiB are 32,768
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
    """Return the parts of a picture's file that hold pixels, and its Exif block.

    For formats other than PNG and JPEG, the result is the whole file and an empty Exif block.
    """
    if content.startswith(_PNG):
        return _strip_png(content)
    if content.startswith(JPEG):
        return _strip_jpeg(content)
    return [content], b""


def _strip_png(content: bytes) -> tuple[list[memoryview | bytes], bytes]:
    """Return the critical chunks and the transparency of a PNG, and its Exif block.

    A missing end chunk is added. Only the first image of an animation is kept.
    """
    kept: list[memoryview | bytes] = [_PNG]
    exif = b""
    view = memoryview(content)
    for number, (kind, start, end) in enumerate(_chunks(content)):
        _refuse_many(number)
        if kind == b"IEND":
            break
        data, checksum = view[start + 8 : end - 4], view[end - 4 : end]
        if kind == b"eXIf":
            exif = bytes(data)
        elif kind == b"tRNS" or not kind[0] & 0x20:  # an uppercase first letter: critical
            if end - 4 > len(content):
                return [*kept, view[start:]], exif  # truncated within the chunk
            right = zlib.crc32(data, zlib.crc32(kind)).to_bytes(4)
            if right.startswith(checksum) and (data or kind != b"tRNS"):  # the checksum itself may be truncated
                kept += [view[start : end - 4], right]
            elif kind != b"tRNS":
                raise PictureError(DAMAGED)
    return [*kept, _PNG_END], exif


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type of each chunk of a PNG, its start, and its expected end."""
    start = len(_PNG)
    while start + 8 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4])
        yield content[start + 4 : start + 8], start, end
        start = end


def _strip_jpeg(content: bytes) -> tuple[list[memoryview | bytes], bytes]:
    """Return the tables, frames and scans of a JPEG, and its Exif block.

    Other bytes between segments are skipped, as in libjpeg.
    """
    kept: list[memoryview | bytes] = [content[:2]]
    exif = b""
    view = memoryview(content)
    start = content.find(b"\xff", 2)
    for number in count():
        _refuse_many(number)
        if not 0 <= start < len(content) - 3:
            break
        marker = content[start + 1]
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        if marker == 0xDA:  # start of the first scan: keep all the rest
            kept.append(view[start:])
            break
        if marker in _FRAMES or marker == _ADOBE:
            kept.append(view[start:end])
        elif marker == 0xE1 and view[start + 4 : start + 10] == _EXIF:
            exif = bytes(view[start + 4 : end])
        elif not 0xE0 <= marker <= 0xFE:  # neither an application segment nor a comment
            end = start + 1
        start = content.find(b"\xff", end)
    return kept, exif


def _refuse_many(number: int) -> None:
    """Reject a picture whose file has too many parts."""
    if number > _MAX_PARTS:
        raise PictureError(f"its file has more than {_MAX_PARTS:,} parts: save it again")


def turn_upright(image: Image.Image, exif: bytes) -> Image.Image:
    """Turn a picture upright by the orientation in its Exif block.

    If the block is missing or broken, the picture is returned unchanged.
    """
    image.load()  # Pillow applies the orientation of a TIFF here, and removes it
    try:
        found = Image.Exif() if exif else image.getexif()
        if exif:
            found.load(exif)
        turn = TURNS.get(found.get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # Pillow raises many types of errors for a broken block
        turn = None
    return image if turn is None else image.transpose(turn)
