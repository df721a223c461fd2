"""Load a saved model, and ask it."""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that evaluates, and not by the flow

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DivergedError, StorageError, first_line
from tasks.training.keras_runtime import import_keras

if TYPE_CHECKING:
    import keras


BATCH = 512  # within a tenth of the fastest on all processors that were tried; and it divides a row group
# All that Keras writes into a model's file; it would also unpack what else is there.
_PARTS = frozenset({"metadata.json", "config.json", "model.weights.h5"})


def batch_predictor(
    network: "keras.Model", *, altered: bool = False
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A network as a function from images, (n, ...) uint8, to its outputs, (n, units) float32.

    Every batch is filled up, with blank images: each further shape would be compiled anew. Where images were `altered`, such as
    by erasing all ink, an output that is not finite counts as 0; of an image as it is, the function refuses the output.

    Raises:
        DivergedError: by the function; an output is not finite.
    """

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = max(1, -(-len(images) // BATCH))
        full = np.zeros((batches * BATCH, *images.shape[1:]), np.uint8)
        full[: len(images)] = images
        # Not `predict`, which sets up a data set and callbacks at every call.
        found = [network.predict_on_batch(batch) for batch in np.split(full, batches)]
        outputs = np.concatenate(found, dtype=np.float32)[: len(images)]
        finite = np.isfinite(outputs)
        if not altered and not finite.all():
            count = int((~finite.all(axis=1)).sum())
            raise DivergedError(
                f"model {network.name} computes numbers that are not finite for {count:,} of {len(images):,} images: lower the "
                "recipe's learning_rate, or change the model's function, such as where it divides by what an image can make 0"
            )
        return outputs if finite.all() else np.where(finite, outputs, np.float32(0))

    return predict


def load_model(path: Path) -> "keras.Model":
    """Load a `.keras` file in Keras's safe mode, which runs no code that the file brings.

    Raises:
        StorageError: it is no such file, or is refused.
    """
    import_keras()
    import keras

    try:
        with zipfile.ZipFile(path) as parts:
            strange = set(parts.namelist()) - _PARTS
        if strange:
            raise StorageError(f"can't load the model {path}: it holds {', '.join(sorted(strange))}")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except StorageError:
        raise
    except Exception as error:  # whatever a file that is no model makes of Keras, h5py or zipfile
        raise StorageError(f"can't load the model {path}: {first_line(error)}") from error
