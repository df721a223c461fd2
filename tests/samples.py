"""Small examples that several tests look at: a split of six images, and two models' predictions for them."""

import numpy as np

from tasks.analyse import analysis_of
from tasks.analysis import Analysis, Subject
from tasks.predictions import Predictions, PredictionsMeta, predictions_of
from tasks.profile import profile_of
from tasks.records import Epoch, FileRecord, ModelRecord
from tasks.split import Split, SplitMeta


def split_of(labels: list[int], classes: int = 3, name: str = "test") -> Split:
    images = np.arange(len(labels) * 4, dtype=np.uint8).reshape(-1, 2, 2)
    names = tuple(f"c{label}" for label in range(classes))
    meta = SplitMeta(name=name, dataset="drawn", shape=(2, 2), classes=names, archives=("a", "b"))
    digests = tuple(bytes([index]) * 32 for index in range(len(labels)))
    return Split(meta=meta, images=images, labels=np.array(labels, np.uint8), sha256=digests)


def predicted(split: Split, answers: list[int], sure: list[float]) -> Predictions:
    classes = len(split.meta.classes)
    probabilities = np.array([[(1 - p) / (classes - 1)] * classes for p in sure], np.float32)
    probabilities[np.arange(len(answers)), answers] = sure
    return predictions_of(split, probabilities, PredictionsMeta(model="m", model_sha256="x"))


SPLIT = split_of([0, 0, 1, 1, 2, 2])
FIRST = predicted(SPLIT, [0, 1, 1, 0, 0, 0], [0.9, 0.8, 0.9, 0.7, 0.6, 0.95])
SECOND = predicted(SPLIT, [0, 0, 1, 1, 0, 2], [0.9, 0.8, 0.9, 0.7, 0.99, 0.95])


def analysis_of_two() -> Analysis:
    """The whole document for both."""
    epoch = Epoch(epoch=1, loss=1.0, accuracy=0.5, seconds=1.0)
    file = FileRecord(path="m", bytes=1, sha256="0" * 64)
    model = ModelRecord(name="plain", file=file, parameters=1, trained_on=6, held_out=0, batch=2, seed=1, threads=1,
                        history=(epoch,), fit_seconds=1.0)  # fmt: skip
    subject = Subject(dataset="drawn", title="Drawn", licence="-", classes=SPLIT.meta.classes, shape=(2, 2),
                      recipe="r", description="d", learning_rate=0.1, validation=0.0)  # fmt: skip
    other = model.model_copy(update={"name": "other"})
    return analysis_of(subject, profile_of([SPLIT]), SPLIT, [model, other], [FIRST, SECOND])
