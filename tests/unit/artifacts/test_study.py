import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest

from artifacts.common.plotting import figure_url
from artifacts.common.rendering import NOT_DRAWN
from artifacts.study import tables
from artifacts.study import text as study_words
from artifacts.study.figures import study_figures
from artifacts.study.renderer import StudyRendering
from tasks.config.dataset import BUILT_IN_TEST_CONTENT, load_dataset
from tasks.config.recipe import Ensemble, Recipe, load_recipe
from tasks.data.predictions_parquet import Predictions
from tasks.schemas.analysis import Provenance
from tasks.schemas.findings import Estimate
from tasks.schemas.records import ModelRecord, Omission
from tasks.schemas.study import Claim, SeedRun, Study
from tasks.steps.study_analysis import build_study, claim_of, plan_seed_runs
from tests.support.samples import judged, model, predicted, split_of

MNIST = BUILT_IN_TEST_CONTENT["mnist"]
LABELS = [0, 1, 2, 0, 1, 2, 0, 1]
ANSWERS = {  # by model, then by seed: one image that all misclassify, and others that only some misclassify
    "plain": ([1, 1, 2, 0, 1, 2, 0, 0], [1, 1, 2, 0, 2, 2, 0, 1], [1, 0, 2, 0, 1, 2, 0, 1]),
    "batch_norm": ([1, 1, 2, 0, 1, 2, 0, 1], [1, 1, 2, 0, 1, 2, 0, 1], [2, 1, 2, 0, 1, 2, 0, 1]),
}


@pytest.fixture
def study() -> Study:
    return study_over(3)


def study_over(seeds: int, *plans: Recipe) -> Study:
    split = split_of(LABELS)
    trials = plan_seed_runs(plans or [load_recipe("post")], seeds)
    given: list[Predictions] = [
        predicted(split, ANSWERS[trial.training.network.name][(trial.training.seed - 1) % 3], [0.9] * len(LABELS))
        for trial in trials.values()
    ]
    dataset = load_dataset("mnist").model_copy(update={"classes": split.meta.classes, "shape": split.meta.shape})
    return build_study(dataset, trials, models_of(trials), judged(split, given), MNIST)


def models_of(trials: Mapping[str, SeedRun]) -> dict[str, ModelRecord]:
    return {title: model(trial.arm) for title, trial in trials.items()}


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(
        run="this-study", began=datetime(2026, 1, 2, tzinfo=UTC), root="/root", archives=(), splits=(), steps=(), files=(),
        libraries={"numpy": "2"}, python="3.11", platform="Linux", cores=2,
    )  # fmt: skip


def rendering_of(study: Study, provenance: Provenance) -> StudyRendering:
    return StudyRendering(study, provenance, {name: figure_url(draw()) for name, draw in study_figures(study).items()})


def test_no_number_is_printed_as_negative_zero(study: Study) -> None:
    nothing = Estimate(value=-1e-9, low=-1e-9, high=1e-9)
    pairs = tuple(pair.model_copy(update=dict.fromkeys(("over_both", "over_seeds"), nothing)) for pair in study.pairs)
    confusions = tuple(one.model_copy(update={"difference": nothing}) for one in study.confusions)
    found = study.model_copy(update={"pairs": pairs, "confusions": confusions})
    assert confusions
    cells = [
        str(cell)
        for rows in (tables.pair_rows(found), tables.confusions(found))
        for row in rows
        for cell in row.values()
    ]
    assert [cell for cell in cells if re.search(r"-0\.0+\b", cell)] == []
    assert nothing.points == "+0.00 points (95 % interval +0.00 to +0.00)"


def test_models_with_the_same_seeds_are_paired_by_seed(study: Study, provenance: Provenance) -> None:
    assert (study.seeds, study.trainings) == ((1, 2, 3), 3)
    text = rendering_of(study, provenance).markdown()
    assert "Trained with seeds 1 to 3, evaluated" in text
    assert "paired by seed and image" in text
    assert [row["seed"] for row in tables.by_seed(study)] == [1, 2, 3]


def test_each_recipe_of_a_study_has_its_own_seeds(provenance: Provenance) -> None:
    late = load_recipe("post", seed=7).model_copy(update={"name": "late"})
    study = study_over(2, load_recipe("post"), late)
    assert (study.seeds, study.trainings) == ((), 2)
    assert [arm.seeds for arm in study.arms] == [((1,), (2,))] * 2 + [((7,), (8,))] * 2
    text = rendering_of(study, provenance).markdown()
    assert "Trained with seeds 1 to 2 (plain (post), batch\\_norm (post)); seeds 7 to 8 (plain (late), " in text
    assert "Differences are paired by image, and by seed between models with the same seeds." in text
    assert "over 2 trainings of each model and 8 images" in text
    row = tables.by_seed(study)[1]
    assert (row["training"], row["plain (post) seeds"], row["plain (late) seeds"]) == (2, "2", "8")


def test_an_ensemble_has_several_seeds_for_each_training(provenance: Provenance) -> None:
    recipe = load_recipe("post").model_copy(update={"ensembles": (Ensemble(name="all", members=("plain",), seeds=5),)})
    study = study_over(2, recipe)
    assert study.seeds == ()
    assert study.arms[-1].seeds == ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10))
    text = rendering_of(study, provenance).markdown()
    assert "Trained with seeds 1 to 2 (plain, batch\\_norm); seeds 1 to 10, 5 in each training (all), evaluated" in text
    assert [row["all seeds"] for row in tables.by_seed(study)] == ["1 to 5", "6 to 10"]


def test_the_pairing_is_stated_for_the_models_that_it_applies_to(study: Study) -> None:
    ensemble = study.arms[1].model_copy(update={"seeds": ((1, 2), (3, 4), (5, 6))})
    unlike = study.model_copy(update={"seeds": (), "arms": (study.arms[0], ensemble)})
    assert study_words.pairing(study) == "paired by seed and image"
    assert study_words.pairing(unlike) == "paired by image, because the seeds differ from model to model"
    ensembles = tuple(arm.model_copy(update={"seeds": ensemble.seeds}) for arm in study.arms)
    assert study_words.pairing(study.model_copy(update={"seeds": (), "arms": ensembles})) == "paired by seed and image"


def test_the_length_of_the_statement_of_seeds_does_not_depend_on_their_number() -> None:
    recipe = load_recipe("post").model_copy(update={"ensembles": (Ensemble(name="all", members=("plain",), seeds=5),)})
    few, many = study_over(5, recipe), study_over(100, recipe)
    assert (
        study_words.trained_with(many) == "seeds 1 to 100 (plain, batch_norm); seeds 1 to 500, 5 in each training (all)"
    )
    assert len(study_words.trained_with(many)) - len(study_words.trained_with(few)) == len("100" + "500") - len(
        "5" + "25"
    )


def test_a_study_of_an_ensemble_counts_trainings_instead_of_seeds(provenance: Provenance) -> None:
    recipe = load_recipe("post").model_copy(update={"ensembles": (Ensemble(name="all", members=("plain",), seeds=5),)})
    study = study_over(2, recipe)
    text = rendering_of(study, provenance).markdown()
    assert "Only 2 trainings of each model: " in text
    assert "## Errors by training" in text
    assert "plain: 2 of 2 trainings wrong" in text
    titles = " ".join(axis.get_title() for draw in study_figures(study).values() for axis in draw().axes)
    tabled = " ".join(description for _, description, _ in tables.study_tables(study))
    columns = " ".join(tables.error_persistence(study)[0])
    assert not re.search(
        r"(by|every|some|few|per) seeds?\b(?! between)|seeds that", f"{text} {titles} {tabled} {columns}"
    )


def test_a_sample_is_reported_as_a_sample(study: Study, provenance: Provenance) -> None:
    said = "drawn at random from 1,000,000"
    drawn = study.model_copy(update={"drawn_from": 1_000_000})
    assert said in rendering_of(drawn, provenance).markdown()
    assert said not in rendering_of(study, provenance).markdown()


DEGENERATE = {
    "no error": (LABELS, LABELS),
    "all wrong": (LABELS, [(label + 1) % 3 for label in LABELS]),
    "always the same answer": (LABELS, [0] * len(LABELS)),
    "one label": ([1] * 8, [1, 1, 0, 0, 2, 2, 1, 1]),
    "two images": ([0, 0], [0, 1]),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_study_states_what_equal_predictions_of_all_seeds_mean(case: str, provenance: Provenance) -> None:
    labels, answers = DEGENERATE[case]
    split, trials = split_of(labels), plan_seed_runs([load_recipe("post")], 2)
    dataset = load_dataset("mnist").model_copy(update={"classes": split.meta.classes, "shape": split.meta.shape})
    given = [predicted(split, answers, [0.9] * len(labels)) for _ in trials]
    found = build_study(dataset, trials, models_of(trials), judged(split, given), MNIST)
    found = Study.model_validate_json(found.model_dump_json())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = rendering_of(found, provenance).html("study")
    assert not re.search(r"\b(nan|inf|None)\b(?!\.)", re.sub(r"data:image/png;base64,[\w+/=]+", "", text))
    (pair,) = found.pairs
    assert (pair.over_both.value, pair.p) == (0, 1)


def test_seeds_are_told_from_a_model_called_seed(study: Study) -> None:
    arms = (study.arms[0].model_copy(update={"name": "seed"}), *study.arms[1:])
    rows = tables.by_seed(study.model_copy(update={"arms": arms}))
    assert [list(row.values()) for row in rows] == [list(row.values()) for row in tables.by_seed(study)]
    assert list(rows[0]) == ["seed", "model seed", "batch_norm"]


def test_arms_and_pairs_hold_what_the_predictions_say(study: Study) -> None:
    plain, batch_norm = study.arms
    assert (plain.errors, batch_norm.errors) == ((2, 2, 2), (1, 1, 1))
    assert (plain.always_wrong, plain.sometimes_wrong, batch_norm.always_wrong) == (1, 3, 1)
    (pair,) = study.pairs
    assert pair.by_seed == pytest.approx([0.125] * 3)
    assert pair.over_seeds.low == pair.over_seeds.high == pytest.approx(0.125)
    assert pair.over_both.low < 0 < pair.over_both.high
    signs = r"[+-]\d+\.\d{3} to [+-]\d+\.\d{3}"
    (row,) = tables.pair_rows(study)
    assert all(re.fullmatch(signs, str(row[column])) for column in ("other seeds", "other images", "both"))
    assert study.always_wrong == 1
    assert [(one.picture.index, one.wrong, one.predicted) for one in study.hard] == [(0, (3, 3), 1)]


def test_the_difference_that_the_post_reported_is_compared_with_the_noise_of_one_comparison() -> None:
    study = study_over(5)
    assert study.claim == Claim(first="plain", second="batch_norm", difference=0.0027, source="the post")
    said = " ".join(study_words.headlines(study))
    assert (
        "The difference between plain and batch_norm is within error: batch_norm +12.50 points (95 % interval" in said
    )
    assert (
        "The post reported +0.27 points from one training of each, which is within the error of such a comparison"
        in said
    )
    (pair,) = study.pairs
    limit = 100 * 1.96 * pair.noise.both
    assert float(re.findall(r"comparison: ([\d.]+) points", said)[0]) == pytest.approx(limit, abs=0.02)


@pytest.mark.parametrize(("seeds", "freedom"), [(2, "1 degree"), (4, "3 degrees")])
def test_fewer_than_five_seeds_carry_a_warning_and_no_statement_of_power(
    seeds: int, freedom: str, provenance: Provenance
) -> None:
    study = study_over(seeds)
    text = rendering_of(study, provenance).markdown()
    assert f"Only {seeds} seeds: the deviation from seed to seed is estimated with {freedom} of freedom" in text
    assert study.claim
    assert [pair.seeds_needed for pair in study.pairs] == [None]
    assert not re.search("power 80 %|The post reported|with a power of 80 %", text)
    assert not [line for line in study_words.opening_sentences(study_over(5)) if line.startswith("Only")]


def test_the_gallery_says_how_many_images_there_are_and_where(study: Study, provenance: Provenance) -> None:
    many = study.model_copy(update={"hard": study.hard * 30, "wrong_twice": 57})
    rendering = StudyRendering(many, provenance, {}, place="runs/this-study/report.html")
    page, text = rendering.html("Study"), rendering.markdown()
    assert "<summary>24 of 57 images: show the 30 in this report</summary>" in page
    assert "This report shows 30 of 57 images" in page
    assert "12 of 57 images; runs/this-study/report.html shows 30; the predictions for all images are" in text
    assert "The complete report, with all its images, is the file runs/this-study/report.html under the root" in text
    assert "<th><img" not in page


def test_a_difference_is_named_by_its_direction(study: Study) -> None:
    (pair,) = study.pairs
    for sign, word in ((1, "better"), (-1, "worse")):
        both = pair.over_both.model_copy(update={"value": sign * 0.125})
        said = study_words.study_verdict(pair.model_copy(update={"p": 0.001, "over_both": both}), 3, 8)
        assert said.startswith(f"batch_norm is {word} than plain: {sign * 12.5:+.2f} points")


def test_the_page_shows_all_parts_and_needs_no_other_file(study: Study, provenance: Provenance) -> None:
    rendering = rendering_of(study, provenance)
    page = rendering.html("Study")
    assert page.count("data:image/png;base64,") == len(rendering.figures) + len(study.hard)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    for title in ("Models", "Differences", "Noise of one comparison", "Persistent errors", "Provenance"):
        assert title in page
    assert "Every training of every model misclassifies 1 image." in page
    text = rendering.markdown()
    assert all(line.replace("_", "\\_") in text for line in study_words.headlines(study))


def test_a_study_lists_its_omitted_parts(study: Study, provenance: Provenance) -> None:
    text = StudyRendering(study, provenance, {}, [Omission(part="figure wrong_by", why="no font")]).markdown()
    assert "- left out: figure wrong\\_by: no font\n" in text
    assert text.count(NOT_DRAWN) == 3
    assert "data:image" not in text.replace("data:image/png;base64", "", len(study.hard))


def test_tables_have_one_row_per_model_pair_or_seed(study: Study) -> None:
    counts = {key: len(rows) for key, _, rows in tables.study_tables(study)}
    assert counts == {"study-models": 2, "study-pairs": 1, "study-seeds": 3}
    values = [value for _, _, rows in tables.study_tables(study) for row in rows for value in row.values()]
    assert all(isinstance(value, str | int) or np.isfinite(value) for value in values)


def test_one_model_alone_is_described(study: Study, provenance: Provenance) -> None:
    alone = study.model_copy(update={"arms": study.arms[:1], "pairs": (), "claim": None, "hard": ()})
    (line,) = study_words.headlines(alone)
    assert line.startswith("plain has a mean accuracy of 75.00 % (95 % interval")
    assert "## Differences" not in rendering_of(alone, provenance).markdown()


def test_the_posts_claim_is_about_models_that_were_trained_alike() -> None:
    plans = [load_recipe("cycled"), load_recipe("onecycle"), load_recipe("augmented")]
    trials = plan_seed_runs(plans, 2)
    claim = claim_of(MNIST, [trial.arm for trial in list(trials.values())[:4]], trials.values())
    assert claim
    assert (claim.first, claim.second) == ("plain (onecycle)", "batch_norm (onecycle)")
    assert claim_of(MNIST, ["a", "b"], plan_seed_runs([plans[0], plans[2]], 2).values()) is None


def test_the_best_of_many_models_is_compared_with_the_others(study: Study, provenance: Provenance) -> None:
    plain, norm = study.arms
    (pair,) = study.pairs
    names = ("worse", "plain", "batch_norm", "other")
    many = study.model_copy(
        update={
            "arms": tuple(
                (norm if name == "batch_norm" else plain).model_copy(update={"name": name}) for name in names
            ),
            "pairs": tuple(
                pair.model_copy(update={"first": first, "second": second}) for first, second in combinations(names, 2)
            ),
            "claim": None,
        }
    )
    page = rendering_of(
        many.model_copy(update={"hard": (study.hard[0].model_copy(update={"wrong": (3, 3, 3, 2)}),)}), provenance
    )
    assert "misclassified by 11 of 12 trainings" in page.markdown()
    said = study_words.headlines(many)
    assert len(said) == 3
    assert all("batch_norm" in line for line in said)
