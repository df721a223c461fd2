"""Compare models that were trained with many seeds.

The step takes the records of all trainings and of their predictions for the test split, and writes the study document.
It rejects predictions for other images. In a study, an arm is one model of one recipe.
"""
# ruff: noqa: PLC0415  # the statistics libraries take seconds to import, and a cached study needs none of them

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.image_cards import image_cards, max_images_shown
from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.data.evaluated_split import EvaluatedSplit, load_evaluated_split
from tasks.data.predictions_parquet import Predictions
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.errors import InputError
from tasks.schemas.post_results import difference_published
from tasks.schemas.records import ModelRecord, PredictionsRecord, SplitRecord
from tasks.schemas.study import ENOUGH_SEEDS, Claim, HardImage, ModelPair, SeedRun, Study, StudyModel, StudyRecord
from tasks.storage.content_files import write_document
from tasks.storage.folders import Folder

if TYPE_CHECKING:
    from tasks.analysis.seed_variance import TwoWayComparison

_MAX_SEEDS = 1000

Seeds = tuple[tuple[int, ...], ...]  # of each training of an arm


def plan_seed_runs(plans: Sequence[Recipe], seeds: int) -> dict[str, SeedRun]:
    """Return `seeds` runs of every model of every recipe, each with different seeds.

    The first run uses the recipe's own seed, and the others use the seeds that follow it.

    Returns:
        The seed runs by title, ordered by seed.

    Raises:
        InputError: If there are fewer than two seeds, which give no variance, or more than the maximum.
    """
    if type(seeds) is not int or not 2 <= seeds <= _MAX_SEEDS:  # bool is a subclass of int
        raise InputError(
            f"seeds must be a number from 2 to {_MAX_SEEDS:,}, not {seeds!r}: a single seed has no variance"
        )
    trials = (
        SeedRun(arm=spec.name if len(plans) == 1 else f"{spec.name} ({plan.name})", **dict(spec))
        for number in range(seeds)
        for plan in plans
        for spec in plan.model_specs(number)
    )
    return {trial.title: trial for trial in trials}


@step("analyze study", libraries=("numpy", "pyarrow", "scipy", "statsmodels"))
def analyze_study(
    dataset: Dataset,
    trials: Mapping[str, SeedRun],
    models: Mapping[str, ModelRecord],
    predictions: Mapping[str, PredictionsRecord],
    test: SplitRecord,
    work: Workspace,
) -> StudyRecord:
    """Compare all arms over all seeds.

    Raises:
        StorageError: If a file is missing or altered, or holds predictions for other images.
    """
    tested = load_evaluated_split(test, [predictions[title] for title in trials], work)
    study = build_study(dataset, trials, models, tested, test.content_sha256, drawn_from=test.drawn_from)
    return StudyRecord(
        file=write_document(work.root, Folder.ANALYSES, "study", study),
        seeds=study.seeds,
        arms=study.arms,
        pairs=study.pairs,
    )


def build_study(
    dataset: Dataset,
    trials: Mapping[str, SeedRun],
    models: Mapping[str, ModelRecord],
    tested: EvaluatedSplit,
    test_content: str,
    drawn_from: int | None = None,
) -> Study:
    """Return the study document, from values in memory.

    `trials` and `models` have the same titles, in the order of the predictions of `tested`. `test_content` is the
    `content_sha256` of the test split, for which results may have been published. `drawn_from` is the number
    of images of the whole test split if `tested` is a sample of it.
    """
    from tasks.analysis.seed_confusions import compare_confusions

    given = dict(zip(trials, tested.predictions, strict=True))
    names = list(dict.fromkeys(trial.arm for trial in trials.values()))
    titles = {name: [title for title, trial in trials.items() if trial.arm == name] for name in names}
    right = {name: np.stack([~given[title].wrong for title in titles[name]]) for name in names}
    answers = {name: np.array([given[title].predicted for title in titles[name]], np.intp) for name in names}
    claim = claim_of(test_content, names, trials.values())
    seeds = {name: tuple(_seeds_of(trials[title]) for title in titles[name]) for name in names}
    wrong = np.stack([(~right[name]).sum(axis=0) for name in names])  # (arms, N)
    return Study(
        dataset=dataset.name,
        title=dataset.title,
        license=dataset.license,
        classes=dataset.classes,
        shape=dataset.image_shape,
        images=len(tested.split_index.labels),
        drawn_from=drawn_from,
        seeds=_common_seeds(seeds.values()),
        arms=tuple(
            _study_model(name, seeds[name], [models[title] for title in titles[name]], right[name]) for name in names
        ),
        pairs=_model_pairs_of(names, right, claim),
        confusions=compare_confusions(answers, tested.split_index.labels, len(dataset.classes)),
        claim=claim,
        always_wrong=int((wrong.sum(axis=0) == len(trials)).sum()),
        wrong_twice=int((wrong.sum(axis=0) > 1).sum()),
        hard=_hardest_images(tested, wrong, max_images_shown(dataset.image_shape)),
    )


def _seeds_of(trial: SeedRun) -> tuple[int, ...]:
    """Return the seeds of a model's trainings, without duplicates."""
    return tuple(dict.fromkeys(training.seed for training in trial.trainings))


def _common_seeds(by_arm: Iterable[Seeds]) -> tuple[int, ...]:
    """Return the seed of each training of every arm; empty if the arms differ or a training has several seeds."""
    first, *others = by_arm
    alike = all(one == first for one in others) and all(len(some) == 1 for some in first)
    return tuple(seed for (seed,) in first) if alike else ()


def _study_model(name: str, seeds: Seeds, models: Sequence[ModelRecord], right: NDArray[np.bool_]) -> StudyModel:
    """Return the results of one arm, given the model of each seed.

    `right`, (S, N) bool, is whether each seed classifies each image correctly.
    """
    from tasks.analysis.seed_variance import mean_share, seed_deviation, wrong_by

    accuracies = right.mean(axis=1)
    return StudyModel(
        name=name,
        seeds=seeds,
        parameters=models[0].parameters,
        epochs=models[0].epochs,
        fit_seconds=float(np.mean([model.fit_seconds for model in models])),
        errors=tuple((~right).sum(axis=1).tolist()),
        accuracy=mean_share(accuracies),
        deviation=seed_deviation(accuracies),
        wrong_by=wrong_by(right),
    )


def _model_pairs_of(
    names: Sequence[str], right: dict[str, NDArray[np.bool_]], claim: Claim | None
) -> tuple[ModelPair, ...]:
    """Return the comparison of every pair of arms, with p-values corrected for the number of pairs."""
    from tasks.analysis.seed_variance import two_way_comparison
    from tasks.analysis.statistics import holm

    pairs = list(combinations(names, 2))
    found = [two_way_comparison(right[first], right[second]) for first, second in pairs]
    corrected = holm([one.p for one in found])
    return tuple(
        _model_pair(first, second, right, one, p, claim)
        for (first, second), one, p in zip(pairs, found, corrected, strict=True)
    )


def _model_pair(
    first: str,
    second: str,
    right: dict[str, NDArray[np.bool_]],
    found: "TwoWayComparison",
    p: float,
    claim: Claim | None,
) -> ModelPair:
    from tasks.analysis.seed_variance import seeds_needed

    needed = seeds_needed(claim.difference, found.noise) if claim and len(right[first]) >= ENOUGH_SEEDS else None
    return ModelPair(
        first=first,
        second=second,
        by_seed=tuple((right[second].mean(axis=1) - right[first].mean(axis=1)).tolist()),
        over_seeds=found.over_seeds,
        over_images=found.over_images,
        over_both=found.over_both,
        noise=found.noise,
        p=p,
        seeds_needed=needed,
    )


def claim_of(test_content: str, names: Sequence[str], trials: Iterable[SeedRun]) -> Claim | None:
    """Return the difference that the 2018 post published between its two models.

    Returns:
        None if the post has no result for these test images, or if the study has no pair of these models that was trained
        with the same settings.
    """
    published = difference_published(test_content)
    if published is None or len(names) < 2:
        return None
    arms: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for trial in trials:
        if not trial.ensemble:
            arms[trial.training.model_dump_json(exclude={"network"})][trial.name] = trial.arm
    both = next((found for found in arms.values() if {"plain", "batch_norm"} <= found.keys()), None)
    if both is None:
        return None
    return Claim(first=both["plain"], second=both["batch_norm"], difference=published, source="the post")


def _hardest_images(tested: EvaluatedSplit, wrong: NDArray[np.integer], max_images: int) -> tuple[HardImage, ...]:
    """Return up to `max_images` images that more than one training misclassifies, the hardest first.

    Args:
        tested: The test split, with the predictions of all trainings. The images show the answer of the first training.
        wrong: (arms, N) number of trainings of each arm that misclassify each image.
        max_images: Maximum number of images.
    """
    total = wrong.sum(axis=0)
    order = np.argsort(-total, kind="stable")[:max_images]
    chosen = [int(at) for at in order if total[at] > 1]
    shown = {
        picture.index: picture for picture in image_cards(chosen, tested._replace(predictions=tested.predictions[:1]))
    }
    return tuple(
        HardImage(
            picture=shown[at], wrong=tuple(wrong[:, at].tolist()), predicted=_commonest_wrong(tested.predictions, at)
        )
        for at in chosen
    )


def _commonest_wrong(predictions: Sequence[Predictions], at: int) -> int:
    """Return the most frequent wrong prediction for an image."""
    answers = [int(one.predicted[at]) for one in predictions if one.predicted[at] != one.labels[at]]
    return max(sorted(set(answers)), key=answers.count)
