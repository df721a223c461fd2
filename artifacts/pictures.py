"""Pictures as data URLs, so that a report is one file.

In: raw pixels, or a figure. Out: `data:image/png;base64,...`. Images are enlarged by whole factors, without blur.
"""

import base64
import io

from matplotlib.figure import Figure
from PIL import Image

from tasks.analysis import Picture

EDGE = 84  # pixels at which a gallery shows an image: three times MNIST's 28


def data_url(png: bytes) -> str:
    """PNG bytes as a URL that holds them."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def picture_url(picture: Picture, shape: tuple[int, ...]) -> str:
    """A test image, dark on light, enlarged to about EDGE pixels."""
    rows, columns = shape
    image = Image.frombytes("L", (columns, rows), base64.b64decode(picture.pixels)).point(lambda value: 255 - value)
    factor = max(1, EDGE // max(rows, columns))
    image = image.resize((columns * factor, rows * factor), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return data_url(stream.getvalue())


def figure_url(figure: Figure) -> str:
    """A matplotlib figure, sharp on a screen of twice the density."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=144, metadata={"Software": None})
    image = Image.open(stream).convert("RGB").quantize(64)
    packed = io.BytesIO()
    image.save(packed, "PNG", optimize=True)
    return data_url(packed.getvalue())
