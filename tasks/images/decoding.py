"""Decode picture files, turn pictures upright, and lay transparent pictures on a background.

Files that are not pictures, that are damaged, or that would take too much memory are rejected.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import (  # explicit plugins, since Pillow would load all of them
    Image,
    ImageChops,
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from tasks.errors import PictureError, UnknownFormatError
from tasks.images.decoder_limits import (
    MAX_PIXELS,
    require_decodable_size,
    require_short_tags,
    silence_libtiff,
    too_large,
)
from tasks.images.metadata import DAMAGED, JPEG, strip_metadata, turn_upright

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # Pillow reads more, some through other programs
_ANIMATED = ("PNG", "GIF", "TIFF", "WEBP")  # formats of files that may have several frames
_MAX_COUNTED = 4 << 20  # bytes of a file whose frames are counted, which takes a second or two for the most frames
_PREVIEW = 160  # pixels of the longer side of a picture on a page, which shows it at half of that
_WORKING = 512  # pixels of the longer side at which the foreground is detected
CONTRAST = 24  # of 255; smaller differences are not ink
_FILLED = 0.8  # fraction of its bounding box that opaque paper fills; strokes fill less
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_FILLING = b"\x55" * 4096  # codes that decode to other pixels than a premature end
_LOST = 0.1  # fraction of rows or pixels; a picture that lacks more is damaged
_BLOCK = 16  # most rows that a JPEG encodes together
_METADATA_OF_MACOS = b"\x00\x05\x16\x07"  # the first bytes of a file
_OTHERS = {  # formats that are not supported, by the first bytes of a file
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
    """Decode a picture, turn it upright, and return the result of `made` for it.

    Args:
        content: Bytes of the picture file.
        mode: Pillow mode in which a JPEG is decoded if that is less work.
        made: Function that is applied to the upright picture while it is open.

    Raises:
        PictureError: If the content is not a picture, is damaged, or is too large.
    """
    parts, exif = strip_metadata(content)
    with warnings.catch_warnings(), _own_limit():
        warnings.simplefilter("ignore")  # Pillow warns about every irregularity of a file
        try:
            with _open_picture(b"".join(parts), mode) as image:
                return made(turn_upright(image, exif))
        except UnidentifiedImageError as error:
            raise _format_error(content) from error
        except PictureError:
            raise
        except Exception as error:  # Pillow's decoders raise many types of errors
            if not content.startswith(JPEG):
                raise PictureError(DAMAGED) from error
        try:
            return made(turn_upright(_complete_jpeg(parts, mode), exif))
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(DAMAGED) from error


def _open_picture(content: bytes, mode: str) -> Image.Image:
    """Open a picture without decoding it, if its decoding is within the limits."""
    silence_libtiff()
    require_short_tags(content)
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    require_decodable_size(image, content)
    width, height = image.size
    image.draft(mode, (_WORKING, _WORKING))  # decodes a JPEG at a reduced size
    if image.width * image.height > MAX_PIXELS:
        raise too_large(width, height, MAX_PIXELS)
    return image


def _complete_jpeg(parts: list[memoryview | bytes], mode: str) -> Image.Image:
    """Decode a JPEG without its last bytes, and remove the rows that these bytes held."""
    cut = b"".join(parts).rstrip(b"\xff")
    header = Image.open(io.BytesIO(cut), formats=("JPEG",))
    if header.info.get("progressive"):
        # Each scan refines the whole picture, so at most the changes of the last scan are lost.
        found, changed = _changes(cut + _JPEG_END, cut[: cut.rfind(_JPEG_SCAN)] + _JPEG_END, mode)
        lost = float(np.mean(np.asarray(changed) > 0))
    else:
        found, changed = _changes(cut + _JPEG_END, cut + _FILLING + _JPEG_END, mode)
        box = changed.getbbox()
        # A truncated code may have damaged the block before the first one that differs.
        sound = found.height if box is None else box[1] - -(-_BLOCK * found.height // header.height)
        lost = 1 - sound / found.height
        found = found.crop((0, 0, found.width, max(1, sound)))
    if lost > _LOST:
        raise PictureError(DAMAGED)
    return found


def _changes(one: bytes, other: bytes, mode: str) -> tuple[Image.Image, Image.Image]:
    """Decode a JPEG, and return it with a mask of the pixels that clearly differ from another JPEG."""
    found = _open_picture(one, mode)
    difference = ImageChops.difference(found, _open_picture(other, mode)).convert("L")
    return found, difference.point(lambda level: 255 * (level > CONTRAST))


@contextmanager
def _own_limit() -> Iterator[None]:
    """Disable Pillow's limit of pixels, which ignores the reduced size at which a JPEG is decoded."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _format_error(content: bytes) -> PictureError:
    """Return the error for a file that none of the decoders reads."""
    if content.startswith(_METADATA_OF_MACOS):
        return PictureError("it holds metadata of macOS, not a picture")
    brand = _BRANDS.get(content[8:12]) if content[4:8] == b"ftyp" else None
    found = brand or next((name for start, name in _OTHERS.items() if content.startswith(start)), None)
    return PictureError(unsupported_format(found)) if found else UnknownFormatError("it is not a readable picture")


def unsupported_format(name: str) -> str:
    """Return the reason why a picture of a known format, but not one of `FORMATS`, is rejected."""
    return f"the format {name} is not supported: export the picture as PNG or JPEG"


def unread_frames(content: bytes) -> str | None:
    """Return which frames or pages of a picture's file `read_picture` leaves unread, or None if there are no others."""
    with suppress(Exception), warnings.catch_warnings(), _own_limit():  # Pillow raises many types of errors
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=_ANIMATED) as image:
            if getattr(image, "is_animated", False):
                noun = "pages" if image.format == "TIFF" else "frames"
                return f"only the first of {_number_of_frames(image, len(content))} {noun} was read"
    return None


def _number_of_frames(image: Image.Image, size: int) -> str:
    """Return the number of frames of a file of `size` bytes, or "several" if counting them takes too much.

    To count the pages of a TIFF, Pillow reads the tags of each page, whose size `require_short_tags` has not checked.
    """
    counted = image.format != "TIFF" and size <= _MAX_COUNTED
    return f"{getattr(image, 'n_frames', 0):,}" if counted else "several"


def gray(image: Image.Image) -> Gray:
    """Return the gray levels of a picture, (rows, columns) from 0 to 255, with at most `_WORKING` pixels per side."""
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = lay_on_background(image)
    image = image.getchannel(0) if image.mode == "LAB" else image.convert("L")
    return np.asarray(_shrink(image), np.float64)


def preview(image: Image.Image) -> Image.Image:
    """Return a picture in RGB, reduced to the size in which a page shows it."""
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = lay_on_background(image)
    elif image.mode == "LAB":
        image = image.getchannel(0)  # Pillow converts this mode to no other
    elif image.mode in {"1", "P"}:
        image = image.convert("RGB")  # the mean of two colors is not that of their numbers
    small = image.reduce(max(1, max(image.size) // _PREVIEW)).convert("RGB")
    small.thumbnail((_PREVIEW, _PREVIEW), Image.Resampling.BOX)
    return small


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale the levels of a picture with 16 or 32 bits per pixel to 8 bits, and reduce its size.

    A transparent level becomes an alpha channel. Other pictures are returned unchanged.
    """
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
    """Reduce a picture to at most `_WORKING` pixels per side, so that its arrays are small."""
    if max(image.size) > _WORKING:
        image.thumbnail((_WORKING, _WORKING), Image.Resampling.BOX)
    return image


def lay_on_background(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on a background on which it is visible, and return it in RGB.

    The opaque area is either paper with something on it, or strokes. The background of paper has the paper's color. The
    background of strokes is black or white, whichever has more contrast, and the strokes become as opaque as possible.
    """
    colors = _shrink(image.convert("RGBA"))
    alpha = np.asarray(colors.getchannel("A"))
    levels = np.asarray(colors.convert("RGB").convert("L"))
    opaque = alpha > 127
    box = colors.getchannel("A").point(lambda level: 255 * (level > 127)).getbbox()
    if box and _is_paper(levels[opaque], box):
        background = tuple(int(level) for level in np.median(np.asarray(colors)[opaque][:, :3], axis=0))
    else:
        background = (255,) * 3 if np.average(levels, weights=alpha + 1e-9) < 128 else (0,) * 3
        colors.putalpha(Image.fromarray(_stretch_contrast(alpha)))
    return Image.alpha_composite(Image.new("RGBA", colors.size, (*background, 255)), colors).convert("RGB")


def _is_paper(levels: NDArray[np.uint8], box: tuple[int, int, int, int]) -> bool:
    """Return whether the opaque pixels are paper with something on it.

    Args:
        levels: Gray levels of the opaque pixels.
        box: Bounding box of the opaque pixels: left, top, right, bottom.
    """
    left, top, right, bottom = box
    lowest, highest = np.percentile(levels, (1, 99))
    return bool(levels.size > _FILLED * (right - left) * (bottom - top) and highest - lowest > CONTRAST)


def _stretch_contrast(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale an alpha channel so that the most opaque pixel becomes fully opaque.

    A nearly transparent channel is returned unchanged.
    """
    most = int(alpha.max(initial=0))
    return alpha if most < CONTRAST // 3 else np.minimum(255, alpha * (255 / most)).astype(np.uint8)
