"""Write arrays as IDX files and predictions as Parquet, for tests of their readers."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.idx import DTYPES
from tasks.data.predictions_parquet import Predictions, predictions_writer


def write_idx(array: NDArray[Any]) -> bytes:
    """Return an array as the bytes of an IDX file; a type without a code in IDX raises a KeyError."""
    dtype = array.dtype.newbyteorder(">") if array.dtype.itemsize > 1 else array.dtype
    codes = {np.dtype(name): code for code, name in DTYPES.items()}
    return struct.pack(f">HBB{array.ndim}I", 0, codes[dtype], array.ndim, *array.shape) + array.astype(dtype).tobytes()


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as one Parquet file."""
    with predictions_writer(path, predictions.meta, predictions.probabilities.shape[1]) as write:
        write(predictions)
