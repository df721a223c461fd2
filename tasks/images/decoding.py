"""Pixels: a picture's file decoded, upright, and laid on a background where it is transparent.

In: the bytes of a picture file. Out: a picture in Pillow's modes, or its levels of gray. Refuses: what is no picture, what is
damaged, and what would take too much memory.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (  # else Pillow loads all that it knows
    Image,
    ImageChops,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from tasks.errors import PictureError
from tasks.images.metadata import DAMAGED, JPEG, strip_metadata, turn_upright

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # Pillow knows more, some through other programs
_MOST_PIXELS = 64_000_000  # that are decoded: 64 MB in gray
_MOST_REDUCED = (
    512_000_000  # of a baseline JPEG, which is decoded at an eighth, row by row; the largest telephones have 200
)
_WORKING = 512  # pixels of the longer side at which the foreground is found
CONTRAST = 24  # of 255: what stands out less is no ink
_FILLED = 0.8  # of its bounding box: what is opaque to this extent is paper; strokes are less
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_FILLING = b"\x55" * 4096  # codes that show other pixels than an early end does
_LOST = 0.1  # of the rows, or of the pixels: a picture that lacks more is damaged
_BLOCK = 16  # rows that a JPEG encodes together
NO_PICTURE = "it is no picture that can be read"
_OTHERS = {  # pictures that are not read, by how their files begin
    b"\x00\x05\x16\x07": "it holds what macOS keeps beside a file, and is no picture",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "Photoshop",
    b"<svg": "SVG",
    b"<?xml": "SVG",
    b"\0\0\1\0": "ICO",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\x2a\0\x10\0\0\0CR": "Canon raw",
}
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"heim": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC",
          b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw"}  # fmt: skip

Gray = NDArray[np.float64]
DecodedPicture = TypeVar("DecodedPicture")


def read_picture(content: bytes, mode: str, made: Callable[[Image.Image], DecodedPicture]) -> DecodedPicture:
    """What is `made` of a picture, once it is decoded, in Pillow's `mode` if that is less work, and upright.

    Raises:
        PictureError: it is no picture, damaged, or too large.
    """
    parts, exif = strip_metadata(content)
    with warnings.catch_warnings(), _own_limit():
        warnings.simplefilter("ignore")  # Pillow warns of all that is odd in a file
        try:
            with _open_picture(b"".join(parts), mode) as image:
                return made(turn_upright(image, exif))
        except UnidentifiedImageError as error:
            raise PictureError(_unknown_format(content)) from error
        except PictureError:
            raise
        except Exception as error:  # Pillow's decoders raise whatever they meet
            if not content.startswith(JPEG):
                raise PictureError(DAMAGED) from error
        try:
            return made(turn_upright(_complete_jpeg(parts, mode), exif))
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(DAMAGED) from error


def _open_picture(content: bytes, mode: str) -> Image.Image:
    """A picture that can be decoded within bounds, but is not yet.

    Raises:
        PictureError: it is too large.
        Exception: it is no picture, or its header is damaged.
    """
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    # A progressive JPEG is held whole, in 2 bytes a pixel and color, whatever the size at which it is decoded.
    by_row = image.format == "JPEG" and not image.info.get("progressive")
    most = _MOST_REDUCED if by_row else _MOST_PIXELS
    image.draft(mode, (_WORKING, _WORKING))  # a JPEG need not be decoded whole
    if width * height > most or image.width * image.height > _MOST_PIXELS:
        raise PictureError(f"it has {width:,} x {height:,} pixels; the most are {most:,}: make it smaller")
    return image


def _complete_jpeg(parts: list[memoryview | bytes], mode: str) -> Image.Image:
    """A JPEG of which the last bytes are missing, without the rows that they held.

    Raises:
        PictureError: too much is missing.
    """
    cut = b"".join(parts).rstrip(b"\xff")
    header = Image.open(io.BytesIO(cut), formats=("JPEG",))
    if header.info.get(
        "progressive"
    ):  # each scan refines the whole picture: at most, what the last one changes is lost
        found, changed = _changes(cut + _JPEG_END, cut[: cut.rfind(_JPEG_SCAN)] + _JPEG_END, mode)
        lost = float(np.mean(np.asarray(changed) > 0))
    else:
        found, changed = _changes(cut + _JPEG_END, cut + _FILLING + _JPEG_END, mode)
        box = changed.getbbox()
        # A code that was cut in two may have spoiled the block before the first that differs.
        sound = found.height if box is None else box[1] - -(-_BLOCK * found.height // header.height)
        lost = 1 - sound / found.height
        found = found.crop((0, 0, found.width, max(1, sound)))
    if lost > _LOST:
        raise PictureError(DAMAGED)
    return found


def _changes(one: bytes, other: bytes, mode: str) -> tuple[Image.Image, Image.Image]:
    """A JPEG, and where it clearly differs from another one."""
    found = _open_picture(one, mode)
    difference = ImageChops.difference(found, _open_picture(other, mode)).convert("L")
    return found, difference.point(lambda level: 255 * (level > CONTRAST))


@contextmanager
def _own_limit() -> Iterator[None]:
    """Without Pillow's limit of pixels, which does not know at which size a JPEG is decoded."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _unknown_format(content: bytes) -> str:
    """Why a file is not read that none of the decoders knows."""
    brand = _BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None
    found = brand or next((name for start, name in _OTHERS.items() if content.startswith(start)), None)
    if found is None:
        return NO_PICTURE
    return found if " no picture" in found else f"it is {found}, which is not read: export it as PNG or JPEG"


def gray(image: Image.Image) -> Gray:
    """The gray levels of a picture, (rows, columns) from 0 to 255, at most WORKING pixels a side."""
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = lay_on_background(image)
    image = image.getchannel(0) if image.mode == "LAB" else image.convert("L")
    return np.asarray(_shrink(image), np.float64)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A picture of 16 or 32 bits a pixel with its range of levels in 8 bits, and its transparent level as an alpha channel."""
    if image.mode[0] not in "IF":
        return image
    clear = image.info.get("transparency")
    alpha = None if clear is None else _shrink(Image.fromarray(np.asarray(image) != clear).convert("L"))
    deep = np.nan_to_num(np.asarray(_shrink(image if image.mode == "F" else image.convert("I")), np.float64))
    known = deep if alpha is None else deep[np.asarray(alpha) > 127]
    lowest, span = (known.min(), max(np.ptp(known), 1e-9)) if known.size else (0, 1)
    levels = Image.fromarray(np.clip(255 * ((deep - lowest) / span), 0, 255).astype(np.uint8))
    return levels if alpha is None else Image.merge("LA", (levels, alpha))


def _shrink(image: Image.Image) -> Image.Image:
    """A picture at a size at which arrays of it are small."""
    if max(image.size) > _WORKING:
        image.thumbnail((_WORKING, _WORKING), Image.Resampling.BOX)
    return image


def lay_on_background(image: Image.Image) -> Image.Image:
    """A transparent picture on a background that shows it, in RGB.

    What is opaque is either paper with something on it, whose color the rest takes; or strokes, on black or white, whichever
    is farther, and as strong as they get.
    """
    colors = _shrink(image.convert("RGBA"))
    alpha = np.asarray(colors.getchannel("A"))
    levels = np.asarray(colors.convert("RGB").convert("L"))
    opaque = alpha > 127
    box = colors.getchannel("A").point(lambda level: 255 * (level > 127)).getbbox()
    if box and _flatten_transparency(levels[opaque], box):
        background = tuple(int(level) for level in np.median(np.asarray(colors)[opaque][:, :3], axis=0))
    else:
        background = (255,) * 3 if np.average(levels, weights=alpha + 1e-9) < 128 else (0,) * 3
        colors.putalpha(Image.fromarray(_stretch_contrast(alpha)))
    return Image.alpha_composite(Image.new("RGBA", colors.size, (*background, 255)), colors).convert("RGB")


def _flatten_transparency(levels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> bool:
    """Whether opaque pixels with these gray levels, in this bounding box, are paper with something on it."""
    left, top, right, bottom = box
    lowest, highest = np.percentile(levels, (1, 99))
    return bool(levels.size > _FILLED * (right - left) * (bottom - top) and highest - lowest > CONTRAST)


def _stretch_contrast(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An alpha channel of which the most opaque pixel is opaque; as it is where all are nearly transparent."""
    most = int(alpha.max(initial=0))
    return alpha if most < CONTRAST // 3 else np.minimum(255, alpha * (255 / most)).astype(np.uint8)
