"""Predict every image of a split with a saved model, which Keras's safe mode must accept."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tasks.data.predictions_parquet import PredictionsMeta, predictions_of, predictions_writer
from tasks.data.split_parquet import Split, read_groups
from tasks.engine.cached_task import step
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ModelRecord, PredictionsRecord, SplitRecord
from tasks.storage.content_files import move_into_store, require_all_valid
from tasks.storage.folders import Folder
from tasks.training.inference import batch_predictor, load_shared_model

Answers = Iterable[tuple[Split, NDArray[np.float32]]]  # blocks of a split, each with its probabilities, (n, classes)


@step("evaluate {model.name} on {split.name}", libraries=("keras", "numpy", "pyarrow", "tensorflow"))
def evaluate(model: ModelRecord, split: SplitRecord, work: Workspace) -> PredictionsRecord:
    """Load a model, predict every image of a split, and count the errors.

    Raises:
        StorageError: If the model or the split is missing or altered, or the predictions can't be written.
        DivergedError: If the model's output for an image is not finite.
    """
    paths = require_all_valid(work.root, split.parts)
    predict = batch_predictor(load_shared_model(work.root, model.file))
    return save_predictions(model, split, ((block, predict(block.images)) for block in read_groups(paths)), work)


def save_predictions(model: ModelRecord, split: SplitRecord, answers: Answers, work: Workspace) -> PredictionsRecord:
    """Write a model's predictions for a split, and return their record with the accuracy and the mean loss.

    `answers` yields the blocks of the split, each with its probabilities, (n, classes).

    Raises:
        StorageError: If the split is missing or altered, or the predictions can't be written.
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
        file = move_into_store(work.root, Folder.PREDICTIONS, f"{model.name}-{split.name}", ".parquet", path)
    accuracy = 1 - errors / split.count
    log(f"{model.name} on {split.name}: accuracy {accuracy:.2%}, {errors:,} of {split.count:,} misclassified")
    return PredictionsRecord(
        model=model.name,
        split=split.name,
        file=file,
        count=split.count,
        errors=errors,
        accuracy=accuracy,
        loss=loss / split.count,
    )
