import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import TiffImageFile
from scipy import ndimage

from tasks.errors import PictureError
from tasks.images.digit_preprocessing import read_character
from tasks.images.metadata import TURNS
from tasks.safety import plain_text
from tasks.schemas.results import UnreadablePicture
from tasks.training.classify_pictures import pictures_in, prepare_picture
from tests.support import data

SHAPE = (28, 28)
Drawn = NDArray[np.uint8]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def seven(
    size: tuple[int, int] = (200, 300), paper: object = "white", ink: object = "black", mode: str = "RGB"
) -> Image.Image:
    """Draw a seven on paper, off center."""
    image = Image.new(mode, size, paper)  # type: ignore[arg-type]
    width, height = size
    points = [(width * 0.1, height * 0.1), (width * 0.5, height * 0.1), (width * 0.25, height * 0.6)]
    ImageDraw.Draw(image).line(points, ink, width=max(2, min(size) // 15))  # type: ignore[arg-type]
    return image


def to_mnist_form(content: bytes, shape: tuple[int, ...]) -> Drawn:
    return read_character(content, shape).image


def shown(image: Image.Image, kind: str = "PNG") -> Drawn:
    return to_mnist_form(encoded(image, kind), SHAPE)


def alike(one: Drawn, other: Drawn) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_picture_is_bright_on_black_in_its_box_and_centered() -> None:
    image = shown(seven())
    rows, columns = np.nonzero(image > 20)
    assert image.shape == SHAPE
    assert image.dtype == np.uint8
    assert image.max() == 255
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in {19, 20}
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(0.4 * 200 / (0.5 * 300), abs=0.12)
    center = ndimage.center_of_mass(image)
    assert center == pytest.approx((14, 14), abs=0.6)


def light_from_the_side(image: Image.Image) -> Image.Image:
    levels = np.asarray(image.convert("L"), np.float64)
    return Image.fromarray((levels * np.linspace(0.6, 1, image.width)).astype(np.uint8))


def dirty(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).ellipse((170, 250, 173, 253), "black")
    return image


def on_transparency(image: Image.Image) -> Image.Image:
    """Return a picture with a transparent margin."""
    page = Image.new("RGBA", (image.width + 80, image.height + 80), (0, 0, 0, 0))
    page.paste(image.convert("RGBA"), (40, 40))
    return page


SAME: dict[str, Callable[[], Image.Image]] = {
    "light on dark": lambda: seven(paper="black", ink="white"),
    "colors": lambda: seven(paper="#ffeecc", ink="#224488"),
    "pale pencil": lambda: seven(paper="#eeeeee", ink="#aaaaaa"),
    "on transparency": lambda: seven(paper=(0, 0, 0, 0), ink=(0, 0, 0, 255), mode="RGBA"),
    "white on transparency": lambda: seven(paper=(0, 0, 0, 0), ink=(255, 255, 255, 255), mode="RGBA"),
    "white on transparent white": lambda: seven(paper=(255, 255, 255, 0), ink=(255, 255, 255, 255), mode="RGBA"),
    "gray on transparency": lambda: seven(paper=(0, 0, 0, 0), ink=(128, 128, 128, 255), mode="RGBA"),
    "half transparent": lambda: seven(paper=(0, 0, 0, 0), ink=(255, 255, 255, 60), mode="RGBA"),
    "hardly opaque": lambda: seven(paper=(0, 0, 0, 0), ink=(0, 0, 0, 20), mode="RGBA"),
    "a color on transparency": lambda: seven(paper=(0, 0, 0, 0), ink=(255, 0, 0, 255), mode="RGBA"),
    "gray with an alpha channel": lambda: seven(paper=(0, 0), ink=(255, 255), mode="LA"),
    "a sheet on transparency": lambda: on_transparency(seven()),
    "a blackboard on transparency": lambda: on_transparency(seven(paper="black", ink="white")),
    "a palette": lambda: seven().convert("P"),
    "one bit": lambda: seven().convert("1"),
    "sixteen bits": lambda: Image.fromarray(np.asarray(seven().convert("L"), np.uint16) * 257),
    "floats": lambda: Image.fromarray(np.asarray(seven().convert("L"), np.float32)),
    "lit from the side": lambda: light_from_the_side(seven()),
    "with a speck": lambda: dirty(seven()),
    "large": lambda: seven((2000, 3000)),
    "small": lambda: seven((60, 90)),
}


@pytest.mark.parametrize("name", SAME)
def test_size_color_and_background_make_no_difference(name: str) -> None:
    image = SAME[name]()
    assert alike(shown(image, "TIFF" if image.mode == "F" else "PNG"), shown(seven())) > 0.93


def white_seven() -> Image.Image:
    return seven(paper="black", ink="white")


TRANSPARENT: dict[str, Callable[[], bytes]] = {
    "a palette with a transparent color": lambda: saved(white_seven().convert("P"), "PNG", transparency=0),
    "a palette with an alpha for each color": lambda: saved(
        white_seven().convert("P"), "PNG", transparency=b"\0" + b"\xff" * 255
    ),
    "GIF": lambda: saved(white_seven().convert("P"), "GIF", transparency=0),
    "WebP": lambda: encoded(SAME["white on transparency"](), "WEBP"),
    "a transparent gray": lambda: saved(white_seven().convert("L"), "PNG", transparency=0),
    "a transparent color": lambda: saved(white_seven(), "PNG", transparency=(0, 0, 0)),
    "a transparent bit": lambda: saved(white_seven().convert("1"), "PNG", transparency=0),
    "a transparent level of 16 bits": lambda: with_chunk(
        encoded(Image.fromarray(np.asarray(white_seven().convert("L"), np.uint16) * 257)), chunk(b"tRNS", b"\0\0")
    ),
    "CMYK": lambda: encoded(seven().convert("CMYK"), "JPEG"),
    "CMYK in TIFF": lambda: encoded(seven().convert("CMYK"), "TIFF"),
    "LAB": lambda: encoded(Image.merge("LAB", (seven().convert("L"),) * 3), "TIFF"),
    "16 bits, big-endian": lambda: encoded(
        Image.fromarray((np.asarray(seven().convert("L"), np.uint16) * 257).astype(">u2")), "TIFF"
    ),
}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_chunk(content: bytes, added: bytes, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with an additional chunk."""
    place = content.index(before) - 4
    return content[:place] + added + content[place:]


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_colors_and_rare_modes_are_read(name: str) -> None:
    assert alike(to_mnist_form(TRANSPARENT[name](), SHAPE), shown(seven())) > 0.93


ANCILLARY = (b"eXIf", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"pHYs", b"cHRM", b"sRGB", b"bKGD", b"tIME", b"sBIT",
             b"hIST", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"zzZz")  # fmt: skip


@pytest.mark.parametrize("kind", ANCILLARY)
def test_no_chunk_but_those_with_pixels_refuses_a_png(kind: bytes) -> None:
    wrong_checksum = struct.pack(">I", 9) + kind + b"x\0\0yyyyyy" + b"\0\0\0\0"
    for added in (chunk(kind, b"rubbish") if kind != b"tRNS" else b"", chunk(kind, b""), wrong_checksum):
        for before in (b"IDAT", b"IEND"):
            content = with_chunk(encoded(seven()), added, before)
            assert alike(to_mnist_form(content, SHAPE), shown(seven())) > 0.99


@pytest.mark.parametrize("block", [b"", b"MM\0*", b"MM\0*\0\0\0\x08\xff\xff\x01\x12rubbish", b"\xff" * 40])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_broken_exif_block_refuses_no_picture(kind: str, block: bytes) -> None:
    content = saved(seven(), kind, exif=b"Exif\0\0" + block)
    assert alike(to_mnist_form(content, SHAPE), shown(seven())) > 0.95


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_block_says(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    image = seven() if undo is None else seven().transpose(TURNS[undo])
    assert alike(to_mnist_form(saved(image, kind, exif=exif), SHAPE), shown(seven())) > 0.95


def test_bytes_between_the_segments_of_a_jpeg_are_skipped() -> None:
    content = encoded(seven(), "JPEG")
    for added in (b"\xff\xe2\0\x08MPF\0\xff\xff", b"\xff\xed\0\x06ab\xff\xff", b"\xff\xfe\0\x03x", b"rubbish"):
        assert alike(to_mnist_form(content[:20] + added + content[20:], SHAPE), shown(seven())) > 0.95


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_last_bytes_is_read(progressive: bool) -> None:
    content = saved(seven((400, 600)), "JPEG", progressive=progressive)
    for missing in (1, 2, 3, 8, 16):
        assert alike(to_mnist_form(content[:-missing], SHAPE), shown(seven((400, 600)))) > 0.95


def test_a_jpeg_without_its_lower_part_is_not_read() -> None:
    content = saved(seven((400, 600)), "JPEG")
    early = saved(seven((400, 600)), "JPEG", progressive=True)
    for broken in (*(content[: int(left * len(content))] for left in (0.3, 0.5, 0.7)), early[: int(0.2 * len(early))]):
        with pytest.raises(PictureError, match="damaged or incomplete"):
            to_mnist_form(broken, SHAPE)


def test_a_png_without_its_end_is_read_and_a_damaged_one_is_not() -> None:
    content = encoded(seven())
    for missing in (1, 4, 11, 12, 13, 15, 16):
        assert alike(to_mnist_form(content[:-missing], SHAPE), shown(seven())) > 0.99
    place = content.index(b"IDAT")
    damaged = content[: place + 40] + b"\xaa" * 30 + content[place + 70 :]
    for broken in (damaged, content[:-60], content[: len(content) // 2], content[:place] + b"IDAT\0\0"):
        with pytest.raises(PictureError, match="damaged or incomplete"):
            to_mnist_form(broken, SHAPE)


OTHERS = {
    "HEIC": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "AVIF": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "JPEG XL": b"\xff\x0a\0\0",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": b"%PDF-1.7\n",
    "Photoshop": b"8BPS\0\1",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_picture_of_another_format_is_named_with_a_remedy_whatever_it_is_called(kind: str, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(OTHERS[kind])
    assert why(tmp_path / "picture.jpg") == f"the format {kind} is not supported: export the picture as PNG or JPEG"


def test_a_large_jpeg_is_decoded_at_a_reduced_size() -> None:
    content = encoded(Image.new("L", (12_000, 9_000), 255), "JPEG")
    # The whole picture would take 108 MB; the decoded rows are those of an eighth of its size.
    with pytest.raises(PictureError, match="it shows no foreground"):
        to_mnist_form(content, SHAPE)
    assert alike(shown(seven((9_000, 13_500)).convert("L"), "JPEG"), shown(seven())) > 0.95
    with pytest.raises(PictureError, match="9,000 x 9,000 pixels; the maximum is 64,000,000: make it smaller"):
        to_mnist_form(saved(Image.new("L", (9_000, 9_000), 255), "JPEG", progressive=True), SHAPE)


def test_system_files_in_folders_are_skipped_and_counted(tmp_path: Path) -> None:
    names = ("digit.png", "photo.HEIC", "scan.avif", "._digit.png", ".DS_Store", "Thumbs.db", "__MACOSX/._a.png",
             "@eaDir/digit.png/thumb.jpg", ".thumbnails/a.png", "notes.txt", "sub/.hidden.png", "sub/b.jfif")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\x05\x16\x07\0\2\0\0")
    passed: list[Path] = []
    found = [path for path in pictures_in([tmp_path], passed.append) if isinstance(path, Path)]
    assert [path.name for path in found] == ["digit.png", "photo.HEIC", "scan.avif", "b.jfif"]
    assert sorted(path.name for path in passed) == [
        *(".DS_Store", "._digit.png", ".hidden.png", ".thumbnails", "@eaDir", "Thumbs.db", "__MACOSX", "notes.txt"),
    ]  # fmt: skip
    assert why(tmp_path / "._digit.png") == "it holds metadata of macOS, not a picture"
    (tmp_path / "photo.tga").write_bytes(b"\0" * 40)
    assert why(tmp_path / "photo.tga") == "the format .tga is not supported: export the picture as PNG or JPEG"


def test_pixels_without_any_difference_between_neighbors_and_edge_are_refused() -> None:
    checks = Image.fromarray((255 * (np.indices((64, 64)).sum(0) % 2)).astype(np.uint8))
    with pytest.raises(PictureError, match="it shows no foreground"):
        to_mnist_form(encoded(checks), SHAPE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_every_common_format_is_read(kind: str) -> None:
    assert alike(shown(seven(), kind), shown(seven())) > 0.95


def test_a_telephones_turned_picture_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees
    stream = io.BytesIO()
    seven().rotate(90, expand=True).save(stream, "JPEG", exif=exif)
    assert alike(to_mnist_form(stream.getvalue(), SHAPE), shown(seven())) > 0.95


def test_mnists_own_images_stay_what_they_are() -> None:
    images = data.first(data.NAMES["test"][0], 50)
    found = np.array([alike(shown(Image.fromarray(255 - image)), image) for image in images])
    assert np.median(found) > 0.999
    assert (found > 0.95).mean() > 0.9, "the others are a pixel off: their center of mass lies between two"


REFUSED = {
    "nothing": b"",
    "no picture": b"hello",
    "cut off": encoded(seven())[:60],
    "blank": encoded(Image.new("L", (50, 50), 200)),
    "one pixel": encoded(Image.new("L", (1, 1))),
    "a bomb": encoded(Image.new("1", (30_000, 30_000))),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_shows_nothing_is_rejected(name: str) -> None:
    with pytest.raises(PictureError):
        to_mnist_form(REFUSED[name], SHAPE)


def test_folders_are_searched_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "c.txt", "deep/d.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = pictures_in([tmp_path, tmp_path / "c.txt", tmp_path / "none.png"])
    assert [path.name for path in found if isinstance(path, Path)] == ["a.png", "b.JPG", "d.gif", "c.txt", "none.png"]
    assert why(tmp_path / "none.png") == "No such file or directory"
    assert why(tmp_path / "c.txt") == "it is not a readable picture"


def why(path: Path) -> str:
    """Return the message for a picture that can't be read."""
    found = prepare_picture(path, SHAPE)
    assert isinstance(found, UnreadablePicture)
    assert len(found.why.splitlines()) == 1
    return found.why


def test_a_header_that_claims_gigapixels_is_refused_before_anything_is_decoded() -> None:
    for width, height in ((9_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        claimed = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", claimed) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(PictureError, match="64,000,000"):
            to_mnist_form(content, SHAPE)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_irregular_files_and_loops_are_reported_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the path of a socket has a limit of about a hundred bytes
        listener.bind("socket.png")
        found = [path for path in pictures_in([tmp_path]) if isinstance(path, Path)]
        assert {path.name: why(path) for path in found} == {
            "pipe.png": "it is a pipe (FIFO), not a regular file",
            "device.png": "it is a device, not a regular file",
            "broken.png": "it is a broken symbolic link",
            "circle.png": "it is a circular symbolic link",
            "socket.png": "it is a socket, not a regular file",
        }
    assert why(Path("/dev/null")) == "it is a device, not a regular file"


def test_a_name_of_any_bytes_is_one_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    path.write_bytes(b"")
    (found,) = pictures_in([tmp_path])
    assert isinstance(found, Path)
    unreadable = prepare_picture(found, SHAPE)
    assert isinstance(unreadable, UnreadablePicture)
    assert unreadable.path.endswith("/\\xff\n.png")
    assert plain_text.printable(unreadable.path).endswith("/\\xff\\n.png")


def left_out_at(image: Image.Image, place: tuple[int, int]) -> bool:
    """Return whether the ink at a place of the picture, (column, row), was left out."""
    mask = read_character(encoded(image), SHAPE).left_out
    return bool(mask[place[1] * mask.shape[0] // image.height, place[0] * mask.shape[1] // image.width])


def test_a_speck_a_frame_and_lines_are_left_out_and_the_character_is_not() -> None:
    clean = read_character(encoded(seven()), SHAPE)
    assert not clean.left_out.any()
    assert clean.whole > 0
    dirty = seven()
    ImageDraw.Draw(dirty).ellipse((180, 280, 185, 285), "black")
    assert left_out_at(dirty, (182, 282))
    assert not left_out_at(dirty, (60, 30))
    np.testing.assert_array_equal(shown(dirty), shown(seven()))
    framed = seven()
    ImageDraw.Draw(framed).rectangle((5, 5, 194, 294), outline="black", width=2)
    assert left_out_at(framed, (5, 150))
    assert not left_out_at(framed, (60, 30))


def test_the_margins_of_a_picture_in_color_are_left_out() -> None:
    found = read_character(encoded(seven((200, 100))), (32, 32, 3))
    assert found.left_out.mean() == pytest.approx(0.5, abs=0.02)
    assert found.left_out[:, 0].all()
    assert not found.left_out[:, found.left_out.shape[1] // 2].any()
    assert not read_character(encoded(seven((200, 200))), (32, 32, 3)).left_out.any()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LA"])
def test_the_original_is_shown_small_and_in_color_whatever_the_mode(mode: str) -> None:
    image = seven((2000, 1000), "white", "red").convert("L" if mode in {"I;16", "F"} else "RGB")
    image = Image.fromarray(np.asarray(image, np.uint16) * 200) if mode == "I;16" else image.convert(mode)
    original = read_character(encoded(image, "TIFF"), SHAPE).original
    assert (original.mode, original.size) == ("RGB", (160, 80))
    paper, ink = original.getpixel((150, 70)), original.getpixel((48, 8))
    assert min(paper) > 240  # type: ignore[type-var,arg-type]
    assert ink != paper
    if mode in {"P", "RGB", "RGBA"}:
        assert ink[0] > 200 > ink[1]  # type: ignore[index,operator]


@pytest.mark.parametrize(
    ("kind", "unread"),
    [("GIF", "12 frames"), ("TIFF", "several pages"), ("WEBP", "12 frames"), ("PNG", "12 frames")],
)
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3)])
def test_a_picture_of_several_frames_is_read_as_its_first_with_a_note(
    kind: str, unread: str, shape: tuple[int, ...]
) -> None:
    first, *others = (seven(ink=(level, 0, 0)) for level in range(0, 120, 10))
    stream = io.BytesIO()
    first.save(stream, kind, save_all=True, append_images=others)
    read, alone = (read_character(content, shape) for content in (stream.getvalue(), encoded(first, kind)))
    assert read.doubts == (*alone.doubts, f"only the first of {unread} was read")
    assert not any("first of" in doubt for doubt in alone.doubts)


def test_the_frames_of_a_large_file_are_not_counted() -> None:
    first, *others = (seven((28, 28), ink=(number, 0, 0)) for number in range(2))
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=others)
    doubts = read_character(stream.getvalue() + bytes(4 << 20), SHAPE).doubts
    assert doubts == ("only the first of several frames was read",)


def test_the_tags_of_other_pages_of_a_tiff_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = (seven((28, 28), ink=(number, 0, 0)) for number in range(3))
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=others)
    sought: list[int] = []
    monkeypatch.setattr(TiffImageFile, "seek", lambda _, page: sought.append(page))
    assert read_character(stream.getvalue(), SHAPE).doubts == ("only the first of several pages was read",)
    assert sought == []
