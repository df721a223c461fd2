"""Load a saved model and predict with it."""
# ruff: noqa: PLC0415  # the worker process imports TensorFlow; the flow process does not

import functools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DivergedError, StorageError, first_line
from tasks.schemas.records import FileRecord
from tasks.storage.backend import Root
from tasks.storage.content_files import require_valid
from tasks.training.keras_runtime import MODEL_PARTS, import_keras

if TYPE_CHECKING:
    import keras


_MODELS_IN_MEMORY = 2  # a process of one core alternates between the two models of a run
BATCH = 512  # within 10 % of the fastest batch size on all tested processors; a row group is a multiple of it


def batch_predictor(
    network: "keras.Model", *, modified: bool = False
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function that maps images, (n, ...) uint8, to the network's outputs, (n, units) float32.

    The function pads the last batch with blank images, because TensorFlow would compile the network again for each new
    shape.

    Args:
        network: The model.
        modified: Whether the images are modified, for example by erasing all ink. If so, the function replaces outputs
            that are not finite by 0; otherwise it raises an error.

    Raises:
        DivergedError: By the returned function, if an output is not finite.
    """

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batches = max(1, -(-len(images) // BATCH))
        full = np.zeros((batches * BATCH, *images.shape[1:]), np.uint8)
        full[: len(images)] = images
        # Not `predict`, which sets up a dataset and callbacks at each call.
        found = [network.predict_on_batch(batch) for batch in np.split(full, batches)]
        outputs = np.concatenate(found, dtype=np.float32)[: len(images)]
        finite = np.isfinite(outputs)
        if not modified and not finite.all():
            count = int((~finite.all(axis=1)).sum())
            raise DivergedError(
                f"model {network.name} outputs values that are not finite for {count:,} of {len(images):,} images: lower the "
                "recipe's learning_rate, or change the model's function, for example a division by a value that can be 0"
            )
        return outputs if finite.all() else np.where(finite, outputs, np.float32(0))

    return predict


def load_shared_model(root: Root, file: FileRecord) -> "keras.Model":
    """Return a model of a run, loaded once for all steps of this process, which must not modify it.

    Steps that share a model also share the graph that TensorFlow has built to predict with it.

    Raises:
        StorageError: If the file is missing, altered, or rejected by `load_model`.
    """
    return _load_once(require_valid(root, file), file.sha256)


@functools.lru_cache(_MODELS_IN_MEMORY)
def _load_once(path: Path, sha256: str) -> "keras.Model":  # noqa: ARG001  # the hash is a part of the cache's key
    return load_model(path)


def load_model(path: Path) -> "keras.Model":
    """Load a `.keras` file in Keras's safe mode, which does not run code from the file.

    Raises:
        StorageError: If the file is not a `.keras` file, holds other parts, or is rejected by Keras.
    """
    import_keras()
    import keras

    try:
        with zipfile.ZipFile(path) as parts:
            strange = set(parts.namelist()) - MODEL_PARTS
        if strange:
            raise StorageError(f"can't load the model {path}: it holds unexpected parts: {', '.join(sorted(strange))}")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except StorageError:
        raise
    except Exception as error:  # Keras, h5py and zipfile raise various errors for a file that is not a model
        raise StorageError(f"can't load the model {path}: {first_line(error)}") from error
