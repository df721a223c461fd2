import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from artifacts.common.formatting import UNITS
from tasks.images.features import features
from tests.support import data


def drawn(*rectangles: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return a black image with white rectangles, given as top, left, height, width."""
    image = np.zeros((28, 28), np.uint8)
    for top, left, height, width in rectangles:
        image[top : top + height, left : left + width] = 255
    return image


def measured(*images: NDArray[np.uint8]) -> pd.DataFrame:
    return features(np.array(images))


def test_box_ink_and_pieces_are_counted() -> None:
    found = measured(drawn((4, 10, 20, 3)), drawn((4, 10, 20, 3), (1, 1, 2, 2)), drawn())
    assert found["height"].tolist() == [20, 23, 0]
    assert found["width"].tolist() == [3, 12, 0]
    assert found["components"].tolist() == [1, 2, 0]
    assert found["ink"].tolist() == pytest.approx([100 * 60 / 784, 100 * 64 / 784, 0])


def test_of_a_picture_in_color_its_light_is_measured() -> None:
    red, gray, half = np.zeros((3, 4, 4, 3), np.uint8)
    red[..., 0], gray[:], half[:2] = 255, 51, 255
    found = measured(red, gray, half)
    assert found["brightness"].tolist() == pytest.approx([100 / 3, 20, 50])
    assert found["contrast"].tolist() == pytest.approx([0, 0, 100])
    assert found["saturation"].tolist() == pytest.approx([100, 0, 0])


def test_every_measure_has_its_unit_in_the_report() -> None:
    assert {*measured(drawn()), *measured(np.zeros((4, 4, 3), np.uint8))} == set(UNITS)


def test_pieces_that_touch_at_a_corner_are_one_and_images_do_not_touch() -> None:
    assert measured(drawn((0, 0, 2, 2), (2, 2, 2, 2)))["components"].tolist() == [1]
    assert measured(drawn((26, 0, 2, 28)), drawn((0, 0, 2, 28)))["components"].tolist() == [1, 1]


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6])
def test_a_strokes_width_is_measured_to_half_a_pixel(width: int) -> None:
    assert measured(drawn((1, 10, 26, width)))["stroke width"].iloc[0] == pytest.approx(width, abs=0.5)


@pytest.mark.parametrize("degrees", [-30, -10, 0, 10, 30])
def test_a_slant_to_the_right_is_positive(degrees: int) -> None:
    image = np.zeros((28, 28), np.uint8)
    for row in range(4, 24):
        column = round(14 - (row - 13.5) * np.tan(np.radians(degrees)))
        image[row, column - 1 : column + 2] = 255
    assert measured(image)["slant"].iloc[0] == pytest.approx(degrees, abs=2)


def test_real_digits_are_within_bounds() -> None:
    found = features(data.first(data.NAMES["test"][0], 200))
    assert found["height"].between(10, 20).all()
    assert found["components"].between(1, 6).all()
    assert found["stroke width"].between(1, 9).all()
    assert not found.isna().any(axis=None)


def test_many_images_are_measured_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.first(data.NAMES["test"][0], 100)
    whole = features(images)
    monkeypatch.setattr("tasks.images.features.BYTES_AT_ONCE", 7 * 784)
    pd.testing.assert_frame_equal(features(images), whole)
