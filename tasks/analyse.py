"""Analyse: what went wrong, counted and shown.

In: the records of the test split, the models and their predictions. Out: an AnalysisRecord, whose file is the analysis
document. Refuses: predictions that are not of this split.
"""

import base64
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from tasks.analysis import Analysis, Answer, LabelErrors, ModelAnalysis, Pattern, Picture, Share, Subject
from tasks.dataset import Dataset
from tasks.errors import StorageError
from tasks.files import keep, verified
from tasks.predictions import Predictions, read_predictions
from tasks.published import published_for
from tasks.recipe import Recipe
from tasks.records import AnalysisRecord, ModelRecord, PredictionsRecord, Profile, SplitRecord
from tasks.split import Split, read_split
from tasks.step import step
from tasks.workspace import Workspace

PATTERNS_SHOWN = 12  # the commonest patterns, which have a gallery
PICTURES_SHOWN = 12  # images in a gallery


@step("analyse", libraries=("numpy", "pyarrow", "scipy"))
def analyse(  # it is where everything meets
    dataset: Dataset,
    recipe: Recipe,
    data: Profile,
    test: SplitRecord,
    models: Sequence[ModelRecord],
    predictions: Sequence[PredictionsRecord],
    work: Workspace,
) -> AnalysisRecord:
    """Analyse the predictions of all models for one split.

    Raises:
        StorageError: a file is gone or altered, or holds predictions for other images.
    """
    split = read_split(verified(work.root, test.file))
    given = [read_predictions(verified(work.root, record.file)) for record in predictions]
    for record, found in zip(predictions, given, strict=True):
        if found.sha256 != split.sha256:
            raise StorageError(f"{record.file.path} holds predictions for other images than {test.file.path}")
    document = analysis_of(subject_of(dataset, recipe), data, split, models, given)
    return AnalysisRecord(
        file=keep(work.root, "analyses", "analysis", ".json", document.model_dump_json().encode()),
        models=tuple(model.name for model in models),
    )


def subject_of(dataset: Dataset, recipe: Recipe) -> Subject:
    """What is analysed, in the document's words."""
    return Subject(
        dataset=dataset.name,
        title=dataset.title,
        licence=dataset.licence,
        classes=dataset.classes,
        shape=dataset.shape,
        recipe=recipe.name,
        description=recipe.description,
        learning_rate=recipe.learning_rate,
        validation=recipe.validation,
    )


def analysis_of(
    subject: Subject, data: Profile, split: Split, models: Sequence[ModelRecord], given: Sequence[Predictions]
) -> Analysis:
    """The whole document, from what is in memory."""
    found = tuple(patterns(given))
    analysed = tuple(
        model_analysis(subject.dataset, model, predictions) for model, predictions in zip(models, given, strict=True)
    )
    shown = {index for pattern in found for index in pattern.shown} | {i for model in analysed for i in model.confident}
    return Analysis(
        subject=subject,
        models=analysed,
        labels=label_errors(given, len(subject.classes)),
        patterns=found,
        pictures=tuple(picture(index, split, given) for index in sorted(shown)),
        profile=data.model_copy(update={"origin": None}),
    )


def share(count: int, total: int) -> Share:
    """A share with its 95 % Wilson score interval (Wilson 1927, "Probable inference"), as scipy computes it."""
    if not total:
        return Share(count=0, total=0, low=0.0, high=1.0)
    interval = binomtest(count, total).proportion_ci(confidence_level=0.95, method="wilson")
    return Share(count=count, total=total, low=float(interval.low), high=float(interval.high))


def model_analysis(dataset: str, model: ModelRecord, predictions: Predictions) -> ModelAnalysis:
    """One model's figures."""
    count, errors = len(predictions.labels), int(predictions.wrong.sum())
    return ModelAnalysis(
        name=model.name,
        parameters=model.parameters,
        epochs=len(model.history),
        batch=model.batch,
        seed=model.seed,
        trained_on=model.trained_on,
        held_out=model.held_out,
        threads=model.threads,
        fit_seconds=model.fit_seconds,
        accuracy=share(count - errors, count),
        errors=errors,
        loss=predictions.loss,
        confusion=tuple(tuple(row) for row in confusion(predictions).tolist()),
        confident=tuple(most_confident(predictions)[:PICTURES_SHOWN].tolist()),
        history=model.history,
        published=published_for(dataset, model.name),
    )


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """The confusion matrix, (K, K): rows are labels, columns predictions."""
    classes = predictions.probabilities.shape[1]
    cells = predictions.labels.astype(np.int64) * classes + predictions.predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def most_confident(predictions: Predictions) -> NDArray[np.intp]:
    """The indices of all wrong answers, those of the highest probability first."""
    wrong = np.flatnonzero(predictions.wrong)
    return wrong[np.argsort(-predictions.probabilities[wrong].max(axis=1), kind="stable")]


def label_errors(given: Sequence[Predictions], classes: int) -> tuple[LabelErrors, ...]:
    """The errors by label, the label with the most errors of all models first."""
    lines = [
        LabelErrors(
            label=label,
            errors=tuple(
                share(int((p.wrong & (p.labels == label)).sum()), int((p.labels == label).sum())) for p in given
            ),
        )
        for label in range(classes)
    ]
    return tuple(sorted(lines, key=lambda line: -sum(errors.count for errors in line.errors)))


def patterns(given: Sequence[Predictions]) -> list[Pattern]:
    """Every (predicted, label) pattern, the commonest over all models first; the first few with the images to show."""
    counts = [Counter(zip(p.predicted[p.wrong].tolist(), p.labels[p.wrong].tolist(), strict=True)) for p in given]
    total: Counter[tuple[int, int]] = sum(counts, Counter())
    ordered = sorted(total, key=lambda pattern: (-total[pattern], pattern))
    return [
        Pattern(
            predicted=predicted,
            label=label,
            counts=tuple(count[predicted, label] for count in counts),
            shown=shown(given, predicted, label) if rank < PATTERNS_SHOWN else (),
        )
        for rank, (predicted, label) in enumerate(ordered)
    ]


def shown(given: Sequence[Predictions], predicted: int, label: int) -> tuple[int, ...]:
    """The images of a pattern that its gallery shows: those that any model took so, by the highest probability first."""
    hits = np.array([(p.predicted == predicted) & (p.labels == label) for p in given])  # (models, N)
    sure = np.array([p.probabilities[:, predicted] for p in given])  # (models, N)
    best = np.where(hits, sure, 0).max(axis=0)
    indices = np.flatnonzero(hits.any(axis=0))
    return tuple(indices[np.argsort(-best[indices], kind="stable")][:PICTURES_SHOWN].tolist())


def picture(index: int, split: Split, given: Sequence[Predictions]) -> Picture:
    """One image with every model's answer."""
    label = int(split.labels[index])
    return Picture(
        index=index,
        sha256=split.sha256[index].hex(),
        label=label,
        pixels=base64.b64encode(split.images[index].tobytes()).decode(),
        answers=tuple(answer(p, index, label) for p in given),
    )


def answer(predictions: Predictions, index: int, label: int) -> Answer:
    """What one model says of one image."""
    probabilities, predicted = predictions.probabilities[index], int(predictions.predicted[index])
    return Answer(
        predicted=predicted,
        probability=float(probabilities[predicted]),
        label_probability=float(probabilities[label]),
    )
