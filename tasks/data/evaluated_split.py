"""Load a split together with all models' predictions for it, without the pixels."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.data.predictions_parquet import Predictions, read_predictions
from tasks.data.split_parquet import SplitIndex, read_images, read_index
from tasks.engine.workspace import Workspace
from tasks.errors import StorageError
from tasks.schemas.records import PredictionsRecord, SplitRecord
from tasks.storage.content_files import require_all_valid, require_valid


class EvaluatedSplit(NamedTuple):
    """Labels and hashes of a split, the predictions of every model, and a function that reads some of the images."""

    split_index: SplitIndex
    predictions: Sequence[Predictions]
    images_at: Callable[[Sequence[int]], Mapping[int, NDArray[np.uint8]]]


def load_evaluated_split(
    record: SplitRecord, predictions: Collection[PredictionsRecord], work: Workspace
) -> EvaluatedSplit:
    """Load a split and all models' predictions for it.

    For a sample of a split, only the predictions for the images in the sample are kept.

    Raises:
        StorageError: If a file is missing or altered, or holds predictions for other images.
    """
    paths = require_all_valid(work.root, record.parts)
    split_index = read_index(paths)
    loaded = [
        read_predictions(
            require_valid(work.root, one.file),
            None if one.count == record.count else split_index.indices.astype(np.intp),
        )
        for one in predictions
    ]
    for one, found in zip(predictions, loaded, strict=True):
        if not np.array_equal(found.sha256, split_index.sha256):
            raise StorageError(
                f"{one.file.path} holds predictions for images that differ from those in {record.file.path}"
            )
    return EvaluatedSplit(split_index, loaded, partial(read_images, paths))
