"""Evaluate: what a saved model predicts for every image of a split.

In: the records of the model and of the split. Out: a PredictionsRecord. Refuses: a model whose file is not the recorded
one, or that Keras's safe mode won't load.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that evaluates, and not by the flow

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.errors import StorageError
from tasks.files import adopt, verified
from tasks.log import say
from tasks.network import first_line
from tasks.predictions import PredictionsMeta, predictions_of, write_predictions
from tasks.quiet import import_quietly
from tasks.records import ModelRecord, PredictionsRecord, SplitRecord
from tasks.split import read_split
from tasks.step import step
from tasks.workspace import Workspace

if TYPE_CHECKING:
    import keras

BATCH = 1000  # divides MNIST's 10,000 test images

# All that Keras writes into a model's file; it would also unpack what else is there.
PARTS = frozenset({"metadata.json", "config.json", "model.weights.h5"})


@step("evaluate {model.name} on {split.name}", libraries=("keras", "numpy", "pyarrow", "tensorflow"))
def evaluate(model: ModelRecord, split: SplitRecord, work: Workspace) -> PredictionsRecord:
    """Load a model, predict every image of a split, and judge the predictions.

    Raises:
        StorageError: the model or the split is gone or altered, or the predictions can't be written.
    """
    data = read_split(verified(work.root, split.file))
    network = load_model(verified(work.root, model.file))
    probabilities = predicting(network)(data.images)
    meta = PredictionsMeta(model=model.name, model_sha256=model.file.sha256)
    predictions = predictions_of(data, probabilities, meta)
    errors = int(predictions.wrong.sum())
    say(f"{model.name} on {split.name}: {predictions.accuracy:.2%} right, {errors:,} of {split.count:,} wrong")
    with work.scratch() as scratch:
        path = scratch / f"{model.name}.parquet"
        write_predictions(path, predictions)
        file = adopt(work.root, "predictions", f"{model.name}-{split.name}", ".parquet", path)
    return PredictionsRecord(
        model=model.name,
        split=split.name,
        file=file,
        count=len(predictions.labels),
        errors=errors,
        accuracy=predictions.accuracy,
        loss=predictions.loss,
    )


def predicting(network: "keras.Model") -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A network as a function from images, (n, ...) uint8, to its outputs, (n, units) float32.

    Every batch is filled up, with blank images: each further shape would be compiled anew.
    """

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        full = np.zeros((-(-len(images) // BATCH) * BATCH, *images.shape[1:]), np.uint8)
        full[: len(images)] = images
        return np.asarray(network.predict(full, batch_size=BATCH, verbose=0), np.float32)[: len(images)]

    return predict


def load_model(path: Path) -> "keras.Model":
    """Load a `.keras` file in Keras's safe mode, which runs no code that the file brings.

    Raises:
        StorageError: it is no such file, or is refused.
    """
    import_quietly("keras")
    import keras

    try:
        with zipfile.ZipFile(path) as parts:
            strange = set(parts.namelist()) - PARTS
        if strange:
            raise StorageError(f"can't load the model {path}: it holds {', '.join(sorted(strange))}")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except StorageError:
        raise
    except Exception as error:  # whatever a file that is no model makes of Keras, h5py or zipfile
        raise StorageError(f"can't load the model {path}: {first_line(error)}") from error
