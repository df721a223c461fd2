"""Define the type of image arrays, their encoding as text, and which pixels count as ink."""

import base64

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (n, rows, columns), or in color (n, rows, columns, 3)
INK = 64  # lowest value of an ink pixel: low enough for faint dirt, high enough to exclude blurred edges


def encode_pixels(image: NDArray[np.uint8]) -> str:
    """Return the pixels of an image in base64, row by row."""
    return base64.b64encode(image.tobytes()).decode()
