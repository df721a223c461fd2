import numpy as np
import pandas as pd

from tasks.analysis.slices import compare_slices
from tasks.schemas.findings import Slice
from tests.support.samples import predicted, split_of

FEATURES = ("ink", "stroke width", "slant", "height", "width", "components")


def sliced(values: dict[str, list[float]], wrong: list[bool]) -> tuple[Slice, ...]:
    count = len(wrong)
    frame = pd.DataFrame({name: values.get(name, [1.0] * count) for name in FEATURES})
    split = split_of([0] * count)
    return compare_slices(frame, [predicted(split, [int(one) for one in wrong], [0.9] * count)])


def test_every_image_is_in_one_slice_of_each_feature() -> None:
    values = np.random.default_rng(0).normal(size=200).tolist()
    found = sliced({"ink": values, "slant": values}, [False] * 200)
    for feature in FEATURES:
        assert sum(one.errors[0].total for one in found if one.feature == feature) == 200
    assert [one.errors[0].total for one in found if one.feature == "ink"] == [40] * 5


def test_a_slice_with_more_errors_stands_out_and_chance_does_not() -> None:
    values = list(range(200))
    found = sliced({"ink": values, "slant": [value % 7 for value in values]}, [value < 30 for value in values])
    standing = [one for one in found if one.stands_out(0)]
    assert [(one.feature, one.low, one.high) for one in standing] == [("ink", 0, 39)]
    assert (standing[0].errors[0].count, standing[0].elsewhere[0].count) == (30, 0)


def test_a_slice_with_fewer_errors_does_not_stand_out() -> None:
    found = sliced({"ink": list(range(200))}, [value >= 40 for value in range(200)])
    low = next(one for one in found if one.feature == "ink")
    assert low.p[0] < 0.001
    assert not low.stands_out(0)


def test_p_values_are_corrected_for_all_slices() -> None:
    one = sliced({"ink": list(range(200))}, [value < 8 for value in range(200)])
    other = sliced({"ink": list(range(200)), "slant": list(range(200))}, [value < 8 for value in range(200)])
    assert other[0].p[0] > one[0].p[0]


def test_nearly_constant_features_are_cut_at_the_common_value() -> None:
    heights = [20.0] * 190 + [float(value) for value in range(10, 20)]
    found = [one for one in sliced({"height": heights}, [False] * 200) if one.feature == "height"]
    assert [(one.low, one.high) for one in found] == [(10, 19), (20, 20)]


def test_many_pieces_are_one_slice() -> None:
    pieces = [1.0] * 90 + [2, 3, 4, 5, 6, 4, 5, 7, 9, 4]
    found = [one for one in sliced({"components": pieces}, [False] * 100) if one.feature == "components"]
    assert [(one.low, one.high) for one in found] == [(1, 1), (2, 2), (3, 3), (4, 9)]
