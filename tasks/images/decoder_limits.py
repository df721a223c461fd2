"""Limits on the memory and the time that a decoder takes, judged by the headers of a picture before it is decoded.

The number of pixels alone does not bound them: some JPEGs are decoded as a whole, a tile of a TIFF may be larger than
the picture, and Pillow decodes a WebP several times over.
Sources: ITU T.81, "JPEG", annex B; "TIFF 6.0", section 15; libwebp, `anim_decode.c`.
"""

import ctypes
import io
import re
from collections.abc import Iterator
from contextlib import suppress

from PIL import Image, TiffImagePlugin, _imaging

from tasks.errors import PictureError

MAX_PIXELS = 64_000_000  # limit of decoded pixels: 64 MB in gray
# Limit for a JPEG that is decoded row by row at an eighth of its size. The largest phone cameras have 200 million
# pixels.
_MAX_REDUCED = 512_000_000
_MAX_WEBP = 40_000_000  # takes 20 bytes per pixel: two frames, the copy that is handed out, the decoder's, and Pillow's
_MAX_SCANS = 64  # each scan passes over all pixels; encoders write about ten
_MAX_TILE = 256 << 20  # bytes: 8,192 x 8,192 pixels in RGBA

# Bytes of one tag: 65,536 strips or tiles. Pillow makes an object of each number, and of each strip.
_MAX_TAG = 512 << 10
_TEXTS = frozenset({1, 2, 7})  # tag types that Pillow keeps as bytes

_TILE_WIDTH, _TILE_LENGTH, _BITS, _SAMPLES = 322, 323, 258, 277  # tags of a TIFF
_SCAN, _END = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_ALONE = frozenset({*range(0x01, 0xC0), *range(0xD0, 0xD9)})  # markers without a length


def require_decodable_size(image: Image.Image, content: bytes) -> None:
    """Reject a picture whose decoding would exceed a limit.

    Args:
        image: The opened picture, which is not decoded yet.
        content: Bytes of its file.

    Raises:
        PictureError: If the picture has too many pixels, a JPEG too many scans, or a TIFF too large tiles.
    """
    max_pixels = MAX_PIXELS
    if image.format == "JPEG":
        scans = list(_scans(content))
        if len(scans) > _MAX_SCANS:
            raise PictureError(f"it is a JPEG of {len(scans):,} scans; the maximum is {_MAX_SCANS}: save it again")
        # Otherwise, a JPEG takes 2 bytes per pixel and channel of its full size, even if it is decoded at a reduced
        # size.
        by_row = not image.info.get("progressive") and scans == [len(image.getbands())]
        max_pixels = _MAX_REDUCED if by_row else MAX_PIXELS
    elif image.format == "WEBP":
        max_pixels = _MAX_WEBP
    elif image.format == "TIFF":
        _refuse_large_tiles(image)
    width, height = image.size
    if width * height > max_pixels:
        raise too_large(width, height, max_pixels)


def too_large(width: int, height: int, max_pixels: int) -> PictureError:
    """Return the error for a picture with too many pixels."""
    return PictureError(f"it has {width:,} x {height:,} pixels; the maximum is {max_pixels:,}: make it smaller")


def _scans(content: bytes) -> Iterator[int]:
    """Yield the number of components of each scan of a JPEG, up to the end of the image.

    Other images may follow, such as the depth map of a phone.
    """
    start = 2
    while (found := _MARKER.search(content, start)) and found[1][0] != _END:
        marker, start = found[1][0], found.end()
        if marker == _SCAN:
            yield content[start + 2] if start + 2 < len(content) else 0
        if marker not in _ALONE:
            start += max(2, int.from_bytes(content[start : start + 2]))


def _refuse_large_tiles(image: Image.Image) -> None:
    """Reject a TIFF with tiles for which the decoder would allocate too much; strips are no larger than the picture."""
    tags = getattr(image, "tag_v2", {})
    width, height = (_number(tags.get(tag)) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    bits = tags.get(_BITS)
    # At least 4 bytes: the decoder converts some pictures to RGBA.
    pixel = max(
        4, _number(tags.get(_SAMPLES, 1)) * max(map(_number, bits if isinstance(bits, tuple) else (bits,))) // 8
    )
    if width * height * pixel > _MAX_TILE:
        raise PictureError(
            f"it is a TIFF with tiles of {width:,} x {height:,} pixels, too large to decode: save it without tiles"
        )


def require_short_tags(content: bytes) -> None:
    """Reject a TIFF with a tag of too many numbers, before Pillow opens it.

    Raises:
        PictureError: If a tag has too many numbers.
    """
    if content[:2] not in {b"II", b"MM"}:
        return
    longest = 0
    with suppress(Exception):  # Pillow reports a damaged file
        stream = io.BytesIO(content)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8) + (stream.read(8) if content[2] == 43 else b""))
        stream.seek(tags.next)
        tags.load(stream)
        longest = max(len(data) for tag, data in tags._tagdata.items() if tags.tagtype[tag] not in _TEXTS)  # noqa: SLF001
    if longest > _MAX_TAG:
        raise PictureError("it is a TIFF with too many strips, tiles or other numbers in one tag: save it again")


def _number(value: object) -> int:
    """Return the value of a tag, or 0 if it is not a number: the decoder rejects the picture."""
    return value if isinstance(value, int) else 0


def silence_libtiff() -> None:
    """Keep libtiff from writing its messages to standard error; Pillow reports a damaged picture as an exception.

    Pillow has no setting for it, and silences only the warnings. Its extension module gives access to the library that
    it is linked with; if the library is built into the module, the messages stay.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetErrorHandlerExt):
            setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            setter(None)
