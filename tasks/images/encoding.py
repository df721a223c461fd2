"""Define the type of image arrays, their encoding as text, and which pixels count as ink."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]  # (n, rows, columns), or in color (n, rows, columns, 3)
INK = 64  # lowest value of an ink pixel: low enough for faint dirt, high enough to exclude blurred edges


def encode_pixels(image: NDArray[np.uint8]) -> str:
    """Return the pixels of an image in base64, row by row."""
    return base64.b64encode(image.tobytes()).decode()


def encode_file(image: Image.Image, kind: str) -> str:
    """Return an image as a file of a format that Pillow writes, such as "PNG", in base64."""
    stream = io.BytesIO()
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()
