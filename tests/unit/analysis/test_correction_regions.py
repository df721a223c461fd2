import pytest
from scipy.stats import fisher_exact

from tasks.analysis.correction_regions import correction_regions, region_of
from tasks.schemas.findings import Answer, Explanation, Patch, Picture

SHAPE = (28, 28)
LEFT, RIGHT = (0, 0, 2), (0, 26, 2)  # row, column, edge


def picture(index: int, label: int, corner: tuple[int, int, int] | None) -> Picture:
    patch = Patch(row=corner[0], column=corner[1], edge=corner[2], probability=0.9) if corner else None
    explanation = Explanation(patch=patch, heat="", neighbors=(), nearest_distance_percentile=0)
    answer = Answer(predicted=0, probability=0.9, label_probability=0.1, explanation=explanation)
    return Picture(index=index, number=index, sha256="", label=label, pixels="", answers=(answer,))


@pytest.mark.parametrize(
    ("corner", "region"),
    [((0, 0, 3), "top left"), ((12, 12, 4), "middle"), ((12, 25, 3), "right"), ((25, 12, 3), "bottom")],
)
def test_the_region_of_a_patch(corner: tuple[int, int, int], region: str) -> None:
    assert region_of(Patch(row=corner[0], column=corner[1], edge=corner[2], probability=1), SHAPE) == region


def test_patches_of_one_label_in_one_region_stand_out_against_the_other_labels() -> None:
    nines = [picture(index, 9, LEFT) for index in range(8)] + [picture(8, 9, RIGHT), picture(9, 9, None)]
    others = [picture(10 + index, index % 8, RIGHT) for index in range(12)]
    found = {(one.label, one.region): one for one in correction_regions(["plain"], nines + others, SHAPE)}
    one = found[9, "top left"]
    assert one.stands_out
    assert (one.here.count, one.here.total, one.elsewhere.count, one.elsewhere.total) == (8, 9, 0, 12)
    # No other p-value is as small. Holm multiplies the smallest by the number of tests, here (label, region) pairs.
    assert one.p == pytest.approx(fisher_exact([[8, 1], [0, 12]]).pvalue * len(found))
    assert not found[9, "top right"].stands_out
    assert not any(region.stands_out for key, region in found.items() if key[0] != 9)


def test_without_patches_there_are_no_correction_regions() -> None:
    assert correction_regions(["plain"], [picture(0, 9, None)], SHAPE) == ()
