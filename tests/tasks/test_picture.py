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
from scipy import ndimage

from tasks import plain
from tasks.errors import PictureError
from tasks.picture import prepare
from tasks.predict import pictures_in, prepared
from tasks.results import Unreadable
from tests import data

SHAPE = (28, 28)
Drawn = NDArray[np.uint8]


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def seven(
    size: tuple[int, int] = (200, 300), paper: object = "white", ink: object = "black", mode: str = "RGB"
) -> Image.Image:
    """A seven on paper, off the centre."""
    image = Image.new(mode, size, paper)  # type: ignore[arg-type]
    width, height = size
    points = [(width * 0.1, height * 0.1), (width * 0.5, height * 0.1), (width * 0.25, height * 0.6)]
    ImageDraw.Draw(image).line(points, ink, width=max(2, min(size) // 15))  # type: ignore[arg-type]
    return image


def shown(image: Image.Image, kind: str = "PNG") -> Drawn:
    return prepare(encoded(image, kind), SHAPE)


def alike(one: Drawn, other: Drawn) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_a_picture_is_bright_on_black_in_its_box_and_centred() -> None:
    image = shown(seven())
    rows, columns = np.nonzero(image > 20)
    assert image.shape == SHAPE
    assert image.dtype == np.uint8
    assert image.max() == 255
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in {19, 20}
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(0.4 * 200 / (0.5 * 300), abs=0.12)
    centre = ndimage.center_of_mass(image)
    assert centre == pytest.approx((14, 14), abs=0.6)


def light_from_the_side(image: Image.Image) -> Image.Image:
    levels = np.asarray(image.convert("L"), np.float64)
    return Image.fromarray((levels * np.linspace(0.6, 1, image.width)).astype(np.uint8))


def dirty(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).ellipse((170, 250, 173, 253), "black")
    return image


SAME: dict[str, Callable[[], Image.Image]] = {
    "light on dark": lambda: seven(paper="black", ink="white"),
    "colours": lambda: seven(paper="#ffeecc", ink="#224488"),
    "pale pencil": lambda: seven(paper="#eeeeee", ink="#aaaaaa"),
    "on transparency": lambda: seven(paper=(0, 0, 0, 0), ink=(0, 0, 0, 255), mode="RGBA"),
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
def test_size_colour_and_background_make_no_difference(name: str) -> None:
    image = SAME[name]()
    assert alike(shown(image, "TIFF" if image.mode == "F" else "PNG"), shown(seven())) > 0.93


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_every_common_format_is_read(kind: str) -> None:
    assert alike(shown(seven(), kind), shown(seven())) > 0.95


def test_a_telephones_turned_picture_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    stream = io.BytesIO()
    seven().rotate(90, expand=True).save(stream, "JPEG", exif=exif)
    assert alike(prepare(stream.getvalue(), SHAPE), shown(seven())) > 0.95


def test_mnists_own_images_stay_what_they_are() -> None:
    images = data.first(data.NAMES["test"][0], 50)
    found = np.array([alike(shown(Image.fromarray(255 - image)), image) for image in images])
    assert np.median(found) > 0.999
    assert (found > 0.95).mean() > 0.9, "the others are a pixel off: their centre of mass lies between two"


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
def test_what_shows_nothing_is_refused(name: str) -> None:
    with pytest.raises(PictureError):
        prepare(REFUSED[name], SHAPE)


def test_folders_are_searched_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "c.txt", "deep/d.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = pictures_in([tmp_path, tmp_path / "c.txt", tmp_path / "none.png"])
    assert [path.name for path in found if isinstance(path, Path)] == ["a.png", "b.JPG", "d.gif", "c.txt", "none.png"]
    assert why(tmp_path / "none.png") == "No such file or directory"
    assert why(tmp_path / "c.txt") == "it is no picture that can be read"


def why(path: Path) -> str:
    """What is said of a picture that can't be read."""
    found = prepared(path, SHAPE)
    assert isinstance(found, Unreadable)
    assert len(found.why.splitlines()) == 1
    return found.why


def test_a_header_that_claims_gigapixels_is_refused_before_anything_is_decoded() -> None:
    for width, height in ((9_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        claimed = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", claimed) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(PictureError, match="64,000,000"):
            prepare(content, SHAPE)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_what_is_no_file_that_ends_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the path of a socket may have some hundred bytes
        listener.bind("socket.png")
        found = [path for path in pictures_in([tmp_path]) if isinstance(path, Path)]
        assert {path.name: why(path) for path in found} == {
            "pipe.png": "it is a pipe (FIFO), not a regular file",
            "device.png": "it is a device, not a regular file",
            "broken.png": "it is a broken symbolic link",
            "circle.png": "it is a link that leads in a circle",
            "socket.png": "it is a socket, not a regular file",
        }
    assert why(Path("/dev/null")) == "it is a device, not a regular file"


def test_a_name_of_any_bytes_is_one_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.png"))
    path.write_bytes(b"")
    (found,) = pictures_in([tmp_path])
    assert isinstance(found, Path)
    unreadable = prepared(found, SHAPE)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.path.endswith("/\\xff\n.png")
    assert plain.shown(unreadable.path).endswith("/\\xff\\n.png")
