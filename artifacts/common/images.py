"""Encode images as `data:` URLs, so that a report is a single file.

The input is raw pixels in base64. Images are enlarged by whole factors, without smoothing.
"""

import base64
import io
from collections.abc import Sequence
from functools import cache, lru_cache

from PIL import Image, ImageDraw

from tasks.schemas.findings import Explanation, Patch

_EDGE = 84  # pixels of the longer side of an image in a gallery: three times MNIST's 28
_LINE = 12  # least pixels of the shorter side, unless the longer side gets too long
_PATCH = (213, 94, 0)  # Okabe and Ito's vermilion, visible on black and on white
_HEAT = "cividis"  # designed to look the same with a color vision deficiency


def png_url(image: Image.Image) -> str:
    """Return an image as a data URL."""
    # `optimize` saves a tenth of the size but takes five times as long.
    return f"data:image/png;base64,{_encode_file(image, 'PNG')}"


def _encode_file(image: Image.Image, kind: str, **options: int) -> str:
    """Return an image as a file of a format that Pillow writes, in base64."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return base64.b64encode(stream.getvalue()).decode()


def _draw_pixels(pixels: str, shape: Sequence[int]) -> Image.Image:
    """Return an image from its pixels: color as is, grayscale inverted to dark on light."""
    rows, columns = shape[:2]
    if shape[2:]:
        return Image.frombytes("RGB", (columns, rows), base64.b64decode(pixels))
    return Image.frombytes("L", (columns, rows), base64.b64decode(pixels)).point(lambda value: 255 - value)


def _enlarge(image: Image.Image, edge: int = _EDGE) -> Image.Image:
    """Return an image enlarged by a whole factor, so that its longer side has about `edge` pixels."""
    factor = max(1, edge // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def shown_at(shape: Sequence[int]) -> tuple[int, int]:
    """Return the height and width, in pixels, at which a gallery shows images of a shape.

    The longer side is `_EDGE` pixels, or up to four times as many if the shorter side would otherwise be too thin.
    """
    longer, shorter = max(shape[:2]), min(shape[:2])
    factor = max(_EDGE / longer, min(_LINE / shorter, 4 * _EDGE / longer))
    return max(1, round(factor * shape[0])), max(1, round(factor * shape[1]))


@lru_cache(10_000)  # several galleries show the same image, in HTML and in Markdown
def picture_url(pixels: str, shape: tuple[int, ...], edge: int = _EDGE) -> str:
    """Return an image as a data URL, enlarged to about `edge` pixels."""
    return png_url(_enlarge(_draw_pixels(pixels, shape), edge))


def left_out_url(original: str, mask: str) -> str:
    """Return a picture, pale and gray, with the masked parts in color, as a data URL.

    Args:
        original: The picture as a JPEG file in base64.
        mask: The mask as a PNG file of the same size, in base64.
    """
    picture = (
        Image.open(io.BytesIO(base64.b64decode(original))).convert("L").point(lambda level: 155 + level * 100 // 255)
    )
    parts = Image.open(io.BytesIO(base64.b64decode(mask))).convert("L")
    marked = picture.convert("RGB")
    marked.paste(_PATCH, mask=parts)
    return jpeg_url(_encode_file(marked, "JPEG", quality=90, subsampling=0))


def jpeg_url(content: str) -> str:
    """Return a JPEG file in base64 as a data URL."""
    return f"data:image/jpeg;base64,{content}"


@cache
def _palette() -> list[int]:
    """Return the colors of heat map values 0 to 255, as a flat list of RGB values for PIL."""
    from matplotlib import colormaps  # noqa: PLC0415  # slow to import, and each worker process imports this module

    return [round(255 * part) for value in range(256) for part in colormaps[_HEAT](value)[:3]]


def _heat_image(levels: bytes, shape: Sequence[int]) -> Image.Image:
    """Return a heat map in colors; the levels range from 0 (dark) to 255 (bright)."""
    rows, columns = shape[:2]
    image = Image.frombytes("P", (columns, rows), levels)
    image.putpalette(_palette())
    return image


def heat_url(heat: str, shape: Sequence[int], edge: int = _EDGE) -> str:
    """Return a heat map as a data URL, enlarged to about `edge` pixels.

    The map is reduced to 32 levels, which compress well.
    """
    levels = bytes(value & 0xF8 | 4 for value in base64.b64decode(heat))
    return png_url(_enlarge(_heat_image(levels, shape), edge))


def explained_url(pixels: str, explanation: Explanation, shape: Sequence[int]) -> str:
    """Return an image with its correcting patch outlined, next to its heat map, as one data URL."""
    picture = _enlarge(_draw_pixels(pixels, shape)).convert("RGB")
    factor = picture.width // shape[1]
    if explanation.patch:
        ImageDraw.Draw(picture).rectangle(outline(explanation.patch, factor), outline=_PATCH, width=2)
    heat = _heat_image(base64.b64decode(explanation.heat), shape)
    both = Image.new("RGB", (2 * picture.width + factor, picture.height), "white")
    both.paste(picture, (0, 0))
    both.paste(_enlarge(heat.convert("RGB")), (picture.width + factor, 0))
    return png_url(both.quantize(48, dither=Image.Dither.NONE))


def outline(patch: Patch, factor: int) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom pixel of a patch in an image enlarged by `factor`."""
    left, top = patch.column * factor, patch.row * factor
    return left, top, left + patch.edge * factor - 1, top + patch.edge * factor - 1


def strip_url(several: Sequence[str], shape: Sequence[int], edge: int = _EDGE // 2) -> str:
    """Return images side by side as one data URL."""
    images = [_enlarge(_draw_pixels(pixels, shape), edge) for pixels in several]
    size = sum(image.width + 2 for image in images), max(image.height for image in images)
    strip = Image.new("RGB" if shape[2:] else "L", size, "white")
    at = 0
    for image in images:
        strip.paste(image, (at, 0))
        at += image.width + 2
    return png_url(strip)
