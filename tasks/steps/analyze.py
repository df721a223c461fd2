"""Analyze the predictions of a run: count, test and illustrate the errors.

The step takes the evidence of a run (the records of the data, the models, their predictions and their explanations) and
writes the analysis document. It rejects predictions for other splits.
"""
# ruff: noqa: PLC0415  # the statistics libraries take seconds to import, and a cached analysis needs none of them

from collections.abc import Iterable, Iterator

import numpy as np

from tasks.base import TEST, TRAIN
from tasks.config.augmentation import Augmentation
from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.data.evaluated_split import EvaluatedSplit, load_evaluated_split
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.images.augment import augment
from tasks.images.corruptions import corruption_examples, sample_indices
from tasks.images.encoding import encode_pixels
from tasks.images.occlusion import heat_window
from tasks.schemas.analysis import AnalysisRecord, AugmentationPreview, Sample
from tasks.schemas.evidence import RunEvidence
from tasks.schemas.findings import Explanations
from tasks.schemas.robustness import CorruptionCounts, Robustness, RobustnessRecord
from tasks.steps.select_examples import Selection
from tasks.storage.content_files import read_document, require_valid, write_document
from tasks.storage.folders import Folder

_PREVIEW_IMAGES = 20  # images: as many as fit side by side on a page


@step("analyze", libraries=("cleanlab", "numpy", "pandas", "pyarrow", "scipy", "statsmodels"))
def analyze(dataset: Dataset, recipe: Recipe, evidence: RunEvidence, work: Workspace) -> AnalysisRecord:
    """Analyze the predictions of all models.

    A model without explanations is analyzed without them.

    Raises:
        StorageError: If a file is missing or altered, or holds predictions for other images.
    """
    import pandas as pd

    from tasks.analysis.builder import build_analysis, describe_subject

    training = load_evaluated_split(evidence.train, evidence.attributions.values(), work)
    tested = load_evaluated_split(evidence.test, evidence.predictions.values(), work)
    document = build_analysis(
        subject=describe_subject(dataset, recipe),
        data=evidence.profile,
        trained=training,
        tested=tested,
        measured=pd.read_parquet(require_valid(work.root, evidence.measures.file)),
        models=tuple(evidence.models.values()),
        predictions=tuple(evidence.predictions.values()),
        chosen=read_document(work.root, evidence.selection.file, Selection).indices,
        explained=[_explanations_of(name, evidence, work) for name in evidence.models],
        test_content=evidence.test.content_sha256,
        samples=_samples_of(evidence),
        augmentation_preview=_augmentation_preview(recipe.augmentation, training) if recipe.augmentation else None,
        robustness=_robustness_evidence(evidence.robustness.values(), tested, work) if evidence.robustness else None,
    )
    return AnalysisRecord(
        file=write_document(work.root, Folder.ANALYSES, "analysis", document),
        models=tuple(evidence.models),
        comparisons=document.comparisons,
    )


def _samples_of(evidence: RunEvidence) -> Iterator[Sample]:
    """Yield the size of each split that is analyzed as a sample only."""
    for name, split in ((TRAIN, evidence.train), (TEST, evidence.test)):
        if split.drawn_from:
            yield Sample(split=name, count=split.count, drawn_from=split.drawn_from)


def _explanations_of(model: str, evidence: RunEvidence, work: Workspace) -> Explanations:
    """Return the explanations of a model's errors; they are empty if the run omitted them."""
    record = evidence.explanations.get(model)
    if record is None:
        return Explanations(model=model, window=heat_window(evidence.test.shape[:2]), by_index={}, saliency_maps=())
    return read_document(work.root, record.file, Explanations)


def _augmentation_preview(plan: Augmentation, training: EvaluatedSplit) -> AugmentationPreview:
    """Return the first training images before and after augmentation."""
    places = range(min(_PREVIEW_IMAGES, len(training.split_index.labels)))
    images = np.stack([training.images_at(places)[place] for place in places])
    after = augment(images, training.split_index.labels[: len(places)], plan, np.random.default_rng(0))
    return AugmentationPreview(before=tuple(map(encode_pixels, images)), after=tuple(map(encode_pixels, after)))


def _robustness_evidence(robustness: Iterable[RobustnessRecord], tested: EvaluatedSplit, work: Workspace) -> Robustness:
    """Return the accuracy of each model on corrupted images, with an example of each corruption."""
    from tasks.analysis.builder import build_robustness

    found = [read_document(work.root, one.file, CorruptionCounts) for one in robustness]
    first = int(sample_indices(len(tested.split_index.labels))[0])
    return build_robustness(found, corruption_examples(tested.images_at([first])[first][None]))
