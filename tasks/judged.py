"""Judged: a split, and what models say of it.

In: the records of a split and of predictions for it. Out: both in memory. Refuses: predictions for other images.
"""

from collections.abc import Sequence

from tasks.errors import StorageError
from tasks.files import verified
from tasks.predictions import Predictions, read_predictions
from tasks.records import PredictionsRecord, SplitRecord
from tasks.split import Split, read_split
from tasks.workspace import Workspace


def judged(
    record: SplitRecord, predictions: Sequence[PredictionsRecord], work: Workspace
) -> tuple[Split, list[Predictions]]:
    """A split, and every model's predictions for it.

    Raises:
        StorageError: a file is gone or altered, or holds predictions for other images.
    """
    split = read_split(verified(work.root, record.file))
    given = [read_predictions(verified(work.root, one.file)) for one in predictions]
    for one, found in zip(predictions, given, strict=True):
        if found.sha256 != split.sha256:
            raise StorageError(f"{one.file.path} holds predictions for other images than {record.file.path}")
    return split, given
