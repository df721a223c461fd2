"""Analyse: what went wrong, counted, tested and shown.

In: the records of the data, the models, their predictions and what explains them. Out: an AnalysisRecord, whose file is the
analysis document. Refuses: predictions that are not of these splits.
"""
# ruff: noqa: PLC0415  # the statistics' libraries take seconds to import, and a run that finds its analysis needs none

from collections.abc import Sequence

import numpy as np

from tasks.analysis import Altered, AnalysisRecord, Sample
from tasks.augment import augmented
from tasks.augmentation import Augmentation
from tasks.corruptions import drawn, examples
from tasks.dataset import Dataset
from tasks.files import keep, verified
from tasks.findings import Explanations
from tasks.folders import Folder
from tasks.gallery import encoded
from tasks.judged import Judged, judged
from tasks.occlusion import heat_window
from tasks.recipe import Recipe
from tasks.records import (
    TEST,
    TRAIN,
    ExplanationsRecord,
    MeasuresRecord,
    ModelRecord,
    PredictionsRecord,
    Profile,
    SelectionRecord,
    SplitRecord,
)
from tasks.robustness import Robustness, Stress, StressRecord
from tasks.select import Selection
from tasks.step import step
from tasks.workspace import Workspace

ALTERED = 20  # images: as many as stand side by side on a page


@step("analyse", libraries=("cleanlab", "numpy", "pandas", "pyarrow", "scipy", "statsmodels"))
def analyse(  # it is where everything meets
    dataset: Dataset,
    recipe: Recipe,
    data: Profile,
    measures: MeasuresRecord,
    train: SplitRecord,
    test: SplitRecord,
    models: Sequence[ModelRecord],
    trained: Sequence[PredictionsRecord],
    predictions: Sequence[PredictionsRecord],
    selection: SelectionRecord,
    explanations: Sequence[ExplanationsRecord],
    stressed: Sequence[StressRecord],
    work: Workspace,
) -> AnalysisRecord:
    """Analyse the predictions of all models: `predictions` for the test split, `trained` for the training split.

    `measures` are those of the test split; `stressed` says what the models make of corrupted images, if they were asked.
    Models whose `explanations` are missing are analysed without.

    Raises:
        StorageError: a file is gone or altered, or holds predictions for other images.
    """
    import pandas as pd

    from tasks.document import analysis_of, subject_of

    learned, tested = judged(train, trained, work), judged(test, predictions, work)
    document = analysis_of(
        subject_of(dataset, recipe),
        data,
        learned,
        tested,
        pd.read_parquet(verified(work.root, measures.file)),
        models,
        predictions,
        Selection.model_validate_json(verified(work.root, selection.file).read_bytes()).indices,
        explained(models, explanations, test, work),
        [
            Sample(split=name, count=split.count, drawn_from=split.drawn_from)
            for name, split in ((TRAIN, train), (TEST, test))
            if split.drawn_from
        ],
        altered_by(recipe.augmentation, learned) if recipe.augmentation else None,
        robustness_from(stressed, tested, work) if stressed else None,
    )
    return AnalysisRecord(
        file=keep(work.root, Folder.ANALYSES, "analysis", ".json", document.model_dump_json().encode()),
        models=tuple(model.name for model in models),
        comparisons=document.comparisons,
    )


def explained(
    models: Sequence[ModelRecord], explanations: Sequence[ExplanationsRecord], test: SplitRecord, work: Workspace
) -> list[Explanations]:
    """What explains the wrong answers of each model; nothing where the run has left that out.

    Raises:
        StorageError: a file is gone or altered.
    """
    found = {
        one.model: Explanations.model_validate_json(verified(work.root, one.file).read_bytes()) for one in explanations
    }
    window = heat_window(test.shape[:2])
    return [
        found.get(model.name, Explanations(model=model.name, window=window, by_index={}, focus=())) for model in models
    ]


def altered_by(plan: Augmentation, learned: Judged) -> Altered:
    """The first training images before and after."""
    places = range(min(ALTERED, len(learned.marks.labels)))
    images = np.stack([learned.images_at(places)[place] for place in places])
    after = augmented(images, learned.marks.labels[: len(places)], plan, np.random.default_rng(0))
    return Altered(before=tuple(map(encoded, images)), after=tuple(map(encoded, after)))


def robustness_from(stressed: Sequence[StressRecord], tested: Judged, work: Workspace) -> Robustness:
    """What the models make of corrupted images.

    Raises:
        StorageError: a file is gone or altered.
    """
    from tasks.document import robustness_of

    found = [Stress.model_validate_json(verified(work.root, one.file).read_bytes()) for one in stressed]
    first = int(drawn(len(tested.marks.labels))[0])
    return robustness_of(found, examples(tested.images_at([first])[first][None]))
