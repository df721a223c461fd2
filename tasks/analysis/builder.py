"""Build the analysis document from splits, predictions and explanations in memory.

The functions are pure; each kind of finding has a module of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from tasks.analysis import confusion_analysis as found_patterns
from tasks.analysis.calibration import calibration
from tasks.analysis.correction_regions import correction_regions
from tasks.analysis.image_cards import image_cards, max_images_shown
from tasks.analysis.label_issues import label_issues_of
from tasks.analysis.slices import compare_slices
from tasks.analysis.statistics import mean_estimate, share_estimate
from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.data.evaluated_split import EvaluatedSplit
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.analysis import Analysis, AugmentationPreview, ModelAnalysis, Sample, Subject
from tasks.schemas.findings import Explanations
from tasks.schemas.post_results import published_for
from tasks.schemas.records import ModelRecord, PredictionsRecord, Profile
from tasks.schemas.robustness import AccuracyGap, CorruptionAccuracy, CorruptionCounts, Robustness


def describe_subject(dataset: Dataset, recipe: Recipe) -> Subject:
    """Return the names and the descriptions of the analyzed dataset and recipe."""
    return Subject(
        dataset=dataset.name,
        title=dataset.title,
        license=dataset.license,
        classes=dataset.classes,
        shape=dataset.image_shape,
        recipe=recipe.name,
        description=recipe.description,
        learning_rate=recipe.learning_rate,
        validation=recipe.validation,
    )


def build_analysis(
    *,
    subject: Subject,
    data: Profile,
    trained: EvaluatedSplit,
    tested: EvaluatedSplit,
    measured: pd.DataFrame,
    models: Sequence[ModelRecord],
    predictions: Sequence[PredictionsRecord],
    chosen: Sequence[int],
    explained: Sequence[Explanations],
    test_content: str,
    samples: Iterable[Sample] = (),
    augmentation_preview: AugmentationPreview | None = None,
    robustness: Robustness | None = None,
) -> Analysis:
    """Return the whole analysis document, from values in memory.

    `chosen` holds the indices of the test images that the report may show, `test_content` the `content_sha256` of the
    test split, for which results may have been published, `samples` the sizes of the splits that are
    analyzed as a sample only, and `measured` the features of the test images.
    """
    names, given = tuple(model.name for model in models), tested.predictions
    may_show = np.isin(np.arange(len(tested.split_index.labels)), chosen)
    shown = image_cards(chosen, tested, explained)
    max_images = max_images_shown(subject.shape)
    neighbors = {near.index for found in explained for one in found.by_index.values() for near in one.neighbors}
    label_issues = (
        label_issues_of("test", given, set(chosen)),
        label_issues_of("train", trained.predictions, max_images=max_images),
    )
    return Analysis(
        subject=subject,
        samples=tuple(samples),
        models=tuple(
            _model_analysis(test_content, *of, found_patterns.most_confident(of[2], may_show))
            for of in zip(models, predictions, given, explained, strict=True)
        ),
        comparisons=found_patterns.compare_all_models(names, given),
        labels=found_patterns.label_errors(given, len(subject.classes)),
        patterns=found_patterns.find_patterns(given, may_show),
        groups=found_patterns.disagreement_groups((names[0], names[1]), given[0], given[1], may_show)
        if len(given) > 1
        else (),
        slices=compare_slices(measured, given),
        correction_regions=correction_regions(names, shown, subject.shape),
        label_issues=label_issues,
        misclassified=int(np.any([p.wrong for p in given], axis=0).sum()),
        pictures=shown,
        training_pictures=image_cards({*neighbors, *(issue.index for issue in label_issues[1].shown)}, trained),
        profile=data.model_copy(update={"origin": None}),
        augmentation_preview=augmentation_preview,
        robustness=robustness,
    )


def _model_analysis(
    test_content: str,
    model: ModelRecord,
    record: PredictionsRecord,
    predictions: Predictions,
    explained: Explanations,
    confident_errors: tuple[int, ...],
) -> ModelAnalysis:
    """Return the results of one model.

    The accuracy is over all test images, even if `predictions` are for a sample of them.
    """
    return ModelAnalysis(
        name=model.name,
        parameters=model.parameters,
        epochs=model.epochs,
        batch=model.batch,
        seed=model.seed,
        seeds=model.seeds,
        trained_on=model.trained_on,
        held_out=model.held_out,
        threads=model.threads,
        fit_seconds=model.fit_seconds,
        accuracy=share_estimate(record.count - record.errors, record.count),
        errors=record.errors,
        calibration=calibration(predictions),
        confusion=tuple(tuple(row) for row in found_patterns.confusion_matrix(predictions).tolist()),
        confident_errors=confident_errors,
        window=explained.window,
        saliency_maps=explained.saliency_maps,
        history=model.history,
        published=published_for(test_content, model.name),
    )


def build_robustness(found: Sequence[CorruptionCounts], examples: Mapping[str, tuple[str, ...]]) -> Robustness:
    """Return the accuracy of each model on corrupted images, and the differences between the models.

    `examples` holds encoded images by kind of corruption.
    """
    forms = sum(len(counts) for counts in found[0].right.values())
    shares = {one.model: np.array(one.by_image) / forms for one in found}
    return Robustness(
        images=found[0].images,
        examples=dict(examples),
        models=tuple(
            CorruptionAccuracy(
                model=one.model,
                clean=share_estimate(one.clean, one.images),
                right={
                    kind: tuple(share_estimate(count, one.images) for count in counts)
                    for kind, counts in one.right.items()
                },
                mean=mean_estimate(shares[one.model], 0.0, 1.0),
            )
            for one in found
        ),
        gaps=tuple(
            AccuracyGap(first=first, second=second, difference=mean_estimate(shares[second] - shares[first], -1.0, 1.0))
            for first, second in combinations(shares, 2)
        ),
    )
