import numpy as np
import pytest

from tasks.analysis.builder import build_robustness
from tasks.images.corruptions import IMAGES, sample_indices
from tasks.schemas.robustness import CorruptionCounts


def stress(model: str, by_image: tuple[int, ...]) -> CorruptionCounts:
    return CorruptionCounts(
        model=model, images=len(by_image), clean=3, right={"blur": (2, sum(by_image) - 2)}, by_image=by_image
    )


def test_means_and_gaps_are_over_images() -> None:
    found = build_robustness([stress("one", (0, 1, 1, 2)), stress("two", (1, 1, 2, 2))], {"blur": ("a", "b")})
    assert [model.mean.value for model in found.models] == pytest.approx([0.5, 0.75])
    assert found.models[0].right["blur"][0].count == 2
    (gap,) = found.gaps
    assert (gap.first, gap.second, gap.difference.value) == ("one", "two", pytest.approx(0.25))
    # The differences are 0.5, 0, 0.5, 0: their standard error is 0.2887 / 2.
    assert gap.difference.high - gap.difference.value == pytest.approx(1.96 * 0.2887 / 2, rel=1e-3)


def test_one_model_has_no_gap() -> None:
    assert build_robustness([stress("one", (0, 1, 1, 2))], {"blur": ("a", "b")}).gaps == ()


def test_all_models_are_asked_about_the_same_images() -> None:
    np.testing.assert_array_equal(sample_indices(10_000), sample_indices(10_000))
    assert len(np.unique(sample_indices(10_000))) == IMAGES
    np.testing.assert_array_equal(sample_indices(60), np.arange(60))
