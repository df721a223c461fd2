"""Test that the headers of a picture bound what its decoder allocates: each file here is small, and is not decoded."""

import io
import struct
import zlib

import pytest
from PIL import Image

from tasks.errors import PictureError
from tasks.images import metadata
from tasks.images.decoding import read_picture

HUGE = (22_600, 22_600)  # below the limit of a JPEG that is decoded row by row
SCAN, END = b"\xff\xda", b"\xff\xd9"


def opened(content: bytes) -> tuple[int, int]:
    """Return the size of a picture after it was decoded."""
    return read_picture(content, "L", lambda image: image.size)


def jpeg(mode: str = "RGB", *, size: tuple[int, int] = (16, 16), progressive: bool = False) -> bytes:
    """Return a JPEG whose header claims a size."""
    stream = io.BytesIO()
    Image.new(mode, (16, 16), 200 if mode == "L" else (200, 10, 10)).save(stream, "JPEG", progressive=progressive)
    content = stream.getvalue()
    frame = content.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return content[:frame] + struct.pack(">HH", size[1], size[0]) + content[frame + 4 :]


def scan_of_each_channel(size: tuple[int, int]) -> bytes:
    """Return a baseline JPEG with one scan for each channel, which the decoder keeps as a whole."""
    content = jpeg(size=size)
    tables = content[: content.index(SCAN)]
    scans = (SCAN + struct.pack(">HB", 8, 1) + bytes([channel, 0, 0, 63, 0]) + bytes(64) for channel in (1, 2, 3))
    return tables + b"".join(scans) + END


def tiff(*tags: tuple[int, int], values: bytes = b"", count: int = 1) -> bytes:
    """Return a TIFF of 10 x 10 gray pixels, compressed, with more tags; the values are those of its strip offsets."""
    every = [(256, 10), (257, 10), (258, 8), (259, 8), (262, 1), (277, 1), *tags]
    data = 8 + 2 + 12 * (len(every) + 2) + 4
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in every)
    strip, length = (324, 325) if (322, tags[0][1]) in tags else (273, 279)
    packed = values or zlib.compress(bytes(1000))
    body += struct.pack("<HHIIHHII", strip, 4, count, data, length, 4, 1, len(packed))
    return b"II*\0" + struct.pack("<IH", 8, len(every) + 2) + body + bytes(4) + packed


def webp(size: int) -> bytes:
    """Return a WebP with an alpha channel."""
    stream = io.BytesIO()
    Image.new("RGBA", (16, 16)).save(stream, "WEBP", lossless=True)
    content = bytearray(stream.getvalue())
    start = content.index(b"VP8L") + 9
    bits = int.from_bytes(content[start : start + 4], "little") & ~((1 << 28) - 1)
    content[start : start + 4] = (bits | (size - 1) << 14 | (size - 1)).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (scan_of_each_channel(HUGE), "22,600 x 22,600 pixels; the maximum is 64,000,000"),
        (jpeg(size=HUGE, progressive=True), "22,600 x 22,600 pixels; the maximum is 64,000,000"),
        (jpeg("L", progressive=True)[:-2] + 100 * (SCAN + bytes.fromhex("0008 01 01 00 01 3f 00")) + END, "JPEG of .* scans"),
        (tiff((322, 32_752), (323, 32_752)), "tiles of 32,752 x 32,752 pixels, too large to decode"),
        (tiff((278, 1), values=bytes(4 * 200_000), count=200_000), "too many strips"),
        (webp(8_000), "8,000 x 8,000 pixels; the maximum is 40,000,000"),
    ],
)  # fmt: skip
def test_a_picture_that_its_decoder_could_not_hold_is_refused_by_its_header(content: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        opened(content)


def test_an_image_after_the_end_of_a_jpeg_counts_no_scans() -> None:
    assert opened(jpeg() + 100 * jpeg()) == (16, 16)
    assert opened(scan_of_each_channel((16, 16))) == (16, 16)


def test_tiles_larger_than_their_picture_are_read() -> None:
    assert opened(tiff((322, 16), (323, 16))) == (10, 10)


def test_a_file_of_too_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_MAX_PARTS", 50)
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "PNG")
    part = b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4)
    with pytest.raises(PictureError, match="more than 50 parts"):
        opened(stream.getvalue()[:33] + 100 * part + stream.getvalue()[33:])
    table = b"\xff\xdb\0\2"
    with pytest.raises(PictureError, match="more than 50 parts"):
        opened(jpeg()[:2] + 100 * table + jpeg()[2:])


def test_the_lines_of_libtiff_do_not_reach_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PictureError, match="damaged"):
        opened(tiff((278, 10), values=bytes(40)))
    assert capfd.readouterr().err == ""
