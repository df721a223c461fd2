"""Images as arrays: their type, their bytes as text, and which pixels count as drawn."""

import base64

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (n, rows, columns), or in color (n, rows, columns, 3)
INK = 64  # the least value of a pixel that does: low enough for faint dirt, high enough to leave blurred edges out


def encode_pixels(image: NDArray[np.uint8]) -> str:
    """An image's bytes, rows x columns, in base64."""
    return base64.b64encode(image.tobytes()).decode()
