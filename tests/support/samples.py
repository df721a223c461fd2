"""Small examples that several tests share: splits of six images, predictions of two models, and the analysis document."""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache

import numpy as np

from tasks.analysis.builder import build_analysis
from tasks.analysis.image_cards import model_answer
from tasks.analysis.statistics import compare_predictions
from tasks.data.evaluated_split import EvaluatedSplit
from tasks.data.predictions_parquet import Predictions, PredictionsMeta, predictions_of
from tasks.data.split_parquet import HASH, Hashes, Split, SplitMeta
from tasks.images.encoding import encode_pixels
from tasks.images.features import features
from tasks.schemas.analysis import (
    Analysis,
    Changed,
    Changes,
    Check,
    Decision,
    ModelChanges,
    Provenance,
    Setting,
    StepLine,
    Subject,
)
from tasks.schemas.findings import Explanation, Explanations, Neighbor, Patch, SaliencyMap
from tasks.schemas.records import Epoch, FileRecord, ModelRecord, Origin, PredictionsRecord
from tasks.steps.profile_data import profile_of

FILE = FileRecord(path="m", bytes=1, sha256="0" * 64)


def hashes(numbers: Iterable[int]) -> Hashes:
    """Return hashes, each of a single repeated byte."""
    return np.repeat(np.fromiter(numbers, np.uint8), 32).view(HASH)


def split_of(labels: list[int], classes: int = 3, name: str = "test") -> Split:
    images = np.arange(len(labels) * 4, dtype=np.uint8).reshape(-1, 2, 2)
    names = tuple(f"c{label}" for label in range(classes))
    meta = SplitMeta(name=name, dataset="drawn", shape=(2, 2), classes=names, archives=("a", "b"))
    return Split(meta=meta, images=images, labels=np.array(labels, np.uint8), sha256=hashes(range(len(labels))),
                 indices=np.arange(len(labels), dtype=np.int32))  # fmt: skip


def judged(split: Split, given: Sequence[Predictions]) -> EvaluatedSplit:
    return EvaluatedSplit(split, given, lambda places: {place: split.images[place] for place in places})


def predicted(split: Split, answers: list[int], sure: list[float]) -> Predictions:
    classes = len(split.meta.classes)
    probabilities = np.array([[(1 - p) / (classes - 1)] * classes for p in sure], np.float32)
    probabilities[np.arange(len(answers)), answers] = sure
    return predictions_of(split, probabilities, PredictionsMeta(model="m", model_sha256="x"))


SPLIT = split_of([0, 0, 1, 1, 2, 2])
TRAIN = split_of([0, 1, 2, 0, 1, 2], name="train")
FIRST = predicted(SPLIT, [0, 1, 1, 0, 0, 0], [0.9, 0.8, 0.9, 0.7, 0.6, 0.95])
SECOND = predicted(SPLIT, [0, 0, 1, 1, 0, 2], [0.9, 0.8, 0.9, 0.7, 0.99, 0.95])
LEARNED = predicted(TRAIN, [0, 1, 2, 0, 2, 2], [0.9, 0.9, 0.9, 0.9, 0.97, 0.9])
EVERYWHERE = np.ones(6, bool)


def explained(name: str, predictions: Predictions) -> Explanations:
    """Return the explanations of one model's errors: a patch corrects the first, and none corrects the others."""
    wrong = np.flatnonzero(predictions.wrong).tolist()
    heat = base64.b64encode(bytes([0, 80, 160, 255])).decode()
    near = (Neighbor(index=2, label=2, distance=1.5), Neighbor(index=5, label=2, distance=2.5))
    patch = Patch(row=0, column=1, edge=1, probability=0.75)
    return Explanations(
        model=name,
        window=3,
        by_index={
            index: Explanation(
                patch=patch if index == wrong[0] else None, heat=heat, neighbors=near, nearest_distance_percentile=0.97
            )
            for index in wrong
        },
        saliency_maps=(
            SaliencyMap(label=0, count=2, peak=0.5, row=1, column=1, ink_here=1, ink_elsewhere=0, heat=heat),
        ),
    )


def model(name: str) -> ModelRecord:
    epoch = Epoch(epoch=1, loss=1.0, accuracy=0.5, seconds=1.0)
    return ModelRecord(name=name, file=FILE, parameters=1, trained_on=6, held_out=0, batch=2, seed=1, threads=1,
                       history=(epoch,), fit_seconds=1.0)  # fmt: skip


def record_of(name: str, given: Predictions) -> PredictionsRecord:
    return PredictionsRecord(model=name, split="test", file=FILE, count=len(given.labels), errors=int(given.wrong.sum()),
                             accuracy=given.accuracy, loss=given.losses.mean())  # fmt: skip


def analysis_of_two() -> Analysis:
    """Return the analysis document of both models."""
    return Analysis.model_validate_json(_document_of_two())  # a new object: cached properties survive `model_copy`


@cache
def _document_of_two() -> str:
    subject = Subject(dataset="drawn", title="Drawn", license="-", classes=SPLIT.meta.classes, shape=(2, 2),
                      recipe="r", description="d", learning_rate=0.1, validation=0.0)  # fmt: skip
    return build_analysis(
        subject=subject, data=profile_of([SPLIT]), trained=judged(TRAIN, [LEARNED, LEARNED]),
        tested=judged(SPLIT, [FIRST, SECOND]), measured=features(SPLIT.images), models=[model("plain"), model("other")],
        predictions=[record_of("plain", FIRST), record_of("other", SECOND)],
        chosen=[1, 3, 4, 5], explained=[explained("plain", FIRST), explained("other", SECOND)], test_content="",
    ).model_dump_json()  # fmt: skip


def analysis_of_many(wrong: int = 60) -> Analysis:
    """Return the document of a model and its copy that predict the next label for all images, twenty of each label."""
    return Analysis.model_validate_json(
        _document_of_many(wrong)
    )  # a new object: cached properties survive `model_copy`


@cache
def _document_of_many(wrong: int) -> str:
    labels = [0, 1, 2] * (wrong // 3)
    split = split_of(labels)
    given = predicted(split, [(label + 1) % 3 for label in labels], [0.5 + number / 200 for number in range(wrong)])
    subject = Subject(dataset="drawn", title="Many", license="-", classes=split.meta.classes, shape=(2, 2),
                      recipe="r", description="d", learning_rate=0.1, validation=0.0)  # fmt: skip
    return build_analysis(
        subject=subject, data=profile_of([split]), trained=judged(TRAIN, [LEARNED, LEARNED]),
        tested=judged(split, [given, given]), measured=features(split.images), models=[model("plain"), model("other")],
        predictions=[record_of("plain", given), record_of("other", given)],
        chosen=range(wrong), explained=[explained("plain", given), explained("other", given)], test_content="",
    ).model_dump_json()  # fmt: skip


def provenance() -> Provenance:
    """Return the provenance of a document without inputs."""
    made = Origin(step="profile", kind="profile", run="this-run", at=datetime(2026, 1, 2, tzinfo=UTC), seconds=1.5)
    return Provenance(
        run="this-run", began=made.at, root="/root", archives=(), splits=(), files=(),
        steps=tuple(StepLine(name=name, origin=made, cached=False) for name in ("profile", "train plain")),
        libraries={"numpy": "2"}, python="3.11", platform="Linux", cores=2,
    )  # fmt: skip


def changes_of_two() -> Changes:
    """Return the changes of the second model, as if it were from a later run."""
    pixels = encode_pixels(SPLIT.images[1])
    changed = Changed(index=1, label=0, pixels=pixels, before=model_answer(FIRST, 1), now=model_answer(SECOND, 1))
    one = ModelChanges(
        before="plain", now="plain", comparison=compare_predictions("plain before", FIRST, "plain now", SECOND),
        newly_wrong=(), newly_right=(changed,),
    )  # fmt: skip
    return Changes(
        before="earlier", now="later", classes=SPLIT.meta.classes, shape=(2, 2), images=6, only_before=0, only_now=1,
        settings=(Setting(name="recipe seed", before="1", now="2"),), models=(one,),
    )  # fmt: skip


DECISION = Decision(
    challenger="other",
    champion=None,
    margin=0.005,
    checks=(Check(name="above the floor", passed=True, found="83.33 % against 50.00 %"),),
)
