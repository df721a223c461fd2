"""Describe the findings of a study in sentences.

Differences are in percentage points, and every claim comes with its interval.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import NormalDist

from artifacts.common.formatting import FEW, counted, p_value, verdict_on, with_interval
from tasks.schemas.study import ENOUGH_SEEDS, Claim, ModelPair, Study, StudyModel

_Z = NormalDist().inv_cdf(0.975)  # half-width of a 95 % interval, in standard deviations


def points(share: float) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * share:.2f} points"


def counted_trainings(seeds: Sequence[int], arms: Sequence[StudyModel]) -> str:
    """Return the number of seeds, or the number of trainings if the arms have different seeds."""
    return counted(len(seeds), "seed") if seeds else f"{counted(len(arms[0].errors), 'training')} of each model"


def trained_with(study: Study) -> str:
    """Return the seeds of a study, by arm if the arms have different seeds."""
    if study.seeds:
        return f"seeds {format_seeds(study.seeds)}"
    arms: defaultdict[tuple[tuple[int, ...], ...], list[str]] = defaultdict(list)
    for arm in study.arms:
        arms[arm.seeds].append(arm.name)
    return "; ".join(f"seeds {_seeds_of_trainings(seeds)} ({', '.join(names)})" for seeds, names in arms.items())


def _seeds_of_trainings(trainings: Sequence[Sequence[int]]) -> str:
    """Return the seeds of all trainings of an arm, which are consecutive."""
    each = len(trainings[0])
    text = format_seeds([seed for seeds in trainings for seed in seeds])
    return text if each == 1 else f"{text}, {each} in each training"


def format_seeds(seeds: Sequence[int]) -> str:
    """Return consecutive seeds as a range."""
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def pairing(study: Study) -> str:
    """Return what the differences are paired by: always by image, and by seed if both arms have the same seeds."""
    seeds = {arm.name: arm.seeds for arm in study.arms}
    by_seed = [seeds[pair.first] == seeds[pair.second] for pair in study.pairs]
    if all(by_seed):
        return "paired by seed and image"
    if not any(by_seed):
        return "paired by image, because the seeds differ from model to model"
    return "paired by image, and by seed between models with the same seeds"


def study_verdict(pair: ModelPair, trainings: str, images: int) -> str:
    """Return a sentence on whether two arms differ significantly, over seeds and images together."""
    evidence = (
        f"over {trainings} and {counted(images, 'image')}, accounting for the choice of both; "
        f"p {p_value(pair.p, sign=True)}"
    )
    return verdict_on(pair.first, pair.second, pair.over_both, evidence, significant=pair.significant)


def _noise_summary(pair: ModelPair) -> str:
    """Return a sentence on the noise of a comparison with one training each, by its source."""
    return (
        f"The difference between one training of each varies with a standard deviation of {points(pair.noise.both)}: "
        f"{points(pair.noise.seeds)} from other seeds alone, {points(pair.noise.images)} from other test images alone."
    )


def _claimed(claim: Claim, pair: ModelPair, seeds: int) -> str:
    """Return sentences on whether a reported difference is within the error of a comparison with one training each.

    If it can be estimated, the number of seeds that would detect such a difference follows.
    """
    limit = _Z * pair.noise.both
    where = "within" if abs(claim.difference) < limit else "beyond"
    who = claim.source[0].upper() + claim.source[1:]
    says = (
        f"{who} reported {100 * claim.difference:+z.2f} points from one training of each, which is {where} the error of such "
        f"a comparison: {points(limit)} in either direction (95 %), estimated from {counted(seeds, 'seed')}."
    )
    if pair.seeds_needed is None:
        return says
    return f"{says} {counted(pair.seeds_needed, 'seed')} of each would detect such a difference on these images (power 80 %)."


def too_few(study: Study) -> str | None:
    """Return a warning if a study has too few seeds, otherwise None."""
    if study.trainings >= ENOUGH_SEEDS:
        return None
    freedom = counted(study.trainings - 1, "degree")
    return (
        f"Only {counted_trainings(study.seeds, study.arms)}: the deviation from seed to seed is estimated with {freedom} of "
        "freedom, so the intervals are wide, the error of one comparison is a rough estimate, and the number of seeds "
        f"needed is unknown; use {ENOUGH_SEEDS} seeds or more."
    )


def headlines(study: Study) -> list[str]:
    """Return the headlines of the report.

    With few arms, each pair is compared; with more, the best arm is compared with the others. A study of one arm states
    its mean accuracy. With enough seeds, the claim is compared with the noise of one comparison.
    """
    seeds, trainings = study.trainings, counted_trainings(study.seeds, study.arms)
    best = max(study.arms, key=lambda arm: arm.accuracy.value).name
    few = len(study.arms) <= FEW
    lines = [
        study_verdict(pair, trainings, study.images) for pair in study.pairs if few or best in (pair.first, pair.second)
    ]
    if not study.pairs:
        lines = [
            f"{arm.name} has a mean accuracy of {with_interval(arm.accuracy)} over {trainings}." for arm in study.arms
        ]
    claim = _claim_pair(study)
    if claim and study.claim and seeds >= ENOUGH_SEEDS:
        lines += [_noise_summary(claim), _claimed(study.claim, claim, seeds)]
    return lines


def opening_sentences(study: Study) -> list[str]:
    """Return the headlines, followed by the warning if the study has too few seeds."""
    warning = too_few(study)
    return [*headlines(study), *([warning] if warning else [])]


def _claim_pair(study: Study) -> ModelPair | None:
    """Return the pair of arms that the claim is about, or None."""
    return next(
        (p for p in study.pairs if study.claim and (p.first, p.second) == (study.claim.first, study.claim.second)), None
    )
