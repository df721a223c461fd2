"""Evaluate: what a saved model predicts for every image of a split.

In: the records of the model and of the split. Out: a PredictionsRecord. Refuses: a model whose file is not the recorded
one, or that Keras's safe mode won't load.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that evaluates, and not by the flow

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.data.predictions_parquet import PredictionsMeta, predictions_of, predictions_writer
from tasks.data.split_parquet import Split, read_groups
from tasks.engine.cached_task import step
from tasks.engine.run_log import say
from tasks.engine.workspace import Workspace
from tasks.errors import DivergedError, StorageError, first_line
from tasks.schemas.records import ModelRecord, PredictionsRecord, SplitRecord
from tasks.storage.content_files import adopt, all_verified, verified
from tasks.storage.folders import Folder
from tasks.training.keras_runtime import import_keras

if TYPE_CHECKING:
    import keras

BATCH = 512  # within a tenth of the fastest on all processors that were tried; and it divides a row group

Answers = Iterable[tuple[Split, NDArray[np.float32]]]  # blocks of a split, each with its probabilities, (n, classes)

# All that Keras writes into a model's file; it would also unpack what else is there.
PARTS = frozenset({"metadata.json", "config.json", "model.weights.h5"})


@step("evaluate {model.name} on {split.name}", libraries=("keras", "numpy", "pyarrow", "tensorflow"))
def evaluate(model: ModelRecord, split: SplitRecord, work: Workspace) -> PredictionsRecord:
    """Load a model, predict every image of a split, and judge the predictions.

    Raises:
        StorageError: the model or the split is gone or altered, or the predictions can't be written.
        DivergedError: what the model says of an image is not finite.
    """
    paths = all_verified(work.root, split.parts)
    predict = predicting(load_model(verified(work.root, model.file)))
    return recorded(model, split, ((block, predict(block.images)) for block in read_groups(paths)), work)


def recorded(model: ModelRecord, split: SplitRecord, answers: Answers, work: Workspace) -> PredictionsRecord:
    """Judge what a model says of a split, and keep it.

    Raises:
        StorageError: the split is gone or altered, or the predictions can't be written.
    """
    meta = PredictionsMeta(model=model.name, model_sha256=model.file.sha256)
    errors, loss = 0, 0.0
    with work.scratch() as scratch:
        path = scratch / f"{model.name}.parquet"
        with predictions_writer(path, meta, len(split.classes)) as write:
            for block, probabilities in answers:
                found = predictions_of(block, probabilities, meta)
                errors += int(found.wrong.sum())
                loss += float(found.losses.sum())
                write(found)
        file = adopt(work.root, Folder.PREDICTIONS, f"{model.name}-{split.name}", ".parquet", path)
    accuracy = 1 - errors / split.count
    say(f"{model.name} on {split.name}: {accuracy:.2%} right, {errors:,} of {split.count:,} wrong")
    return PredictionsRecord(
        model=model.name,
        split=split.name,
        file=file,
        count=split.count,
        errors=errors,
        accuracy=accuracy,
        loss=loss / split.count,
    )


def predicting(network: "keras.Model", *, altered: bool = False) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
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
            strange = set(parts.namelist()) - PARTS
        if strange:
            raise StorageError(f"can't load the model {path}: it holds {', '.join(sorted(strange))}")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except StorageError:
        raise
    except Exception as error:  # whatever a file that is no model makes of Keras, h5py or zipfile
        raise StorageError(f"can't load the model {path}: {first_line(error)}") from error
