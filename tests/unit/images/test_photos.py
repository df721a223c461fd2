"""Test photos with a desk, a shadow or ruled paper: prepared like the plain photo of the digit, or marked as doubtful."""

import numpy as np
import pytest

from tasks.errors import PictureError
from tasks.images.digit_preprocessing import Character, read_character
from tests.support import data
from tests.support.photos import NONE, ONE, TWO, photos

SHAPE = (28, 28)
EACH, SEED = 4, 7
ALIKE = 0.8  # correlation with the drawn digit; different digits reach 0.6


def looked_at(content: bytes) -> Character | None:
    """Return the prepared image of a photo, or None if it is rejected."""
    try:
        return read_character(content, SHAPE)
    except PictureError:
        return None


def drawn(number: int) -> np.ndarray:
    """Return the digit of the photo with this number."""
    images, labels = (data.first(name, 10 * EACH + 10) for name in data.NAMES["test"])
    return images[int(np.flatnonzero(labels == number)[0])]


@pytest.mark.parametrize("kind", ONE)
def test_a_digit_is_read_apart_from_what_is_around_it(kind: str) -> None:
    for number, photo in enumerate(photos(kind, EACH, SEED)):
        found = looked_at(photo.content)
        assert found, (kind, number)
        assert not found.doubts, (kind, number)
        assert np.corrcoef(found.image.ravel(), drawn(number).ravel())[0, 1] > ALIKE, (kind, number)


@pytest.mark.parametrize("seed", [SEED, 3])  # with 3, thin edges of blank sheets were once classified as 1
@pytest.mark.parametrize("kind", [*NONE, *TWO])
def test_no_digit_and_two_digits_are_doubtful_or_refused(kind: str, seed: int) -> None:
    for number, photo in enumerate(photos(kind, EACH, seed)):
        found = looked_at(photo.content)
        assert found is None or found.doubts, (kind, number)


def test_plain_digits_raise_no_doubt() -> None:
    doubtful = sum(
        bool(read_character(pgm(255 - image), SHAPE).doubts) for image in data.first(data.NAMES["test"][0], 200)
    )
    assert doubtful <= 6


def pgm(image: np.ndarray) -> bytes:
    """Return a picture file without compression."""
    return b"P5 28 28 255 " + image.tobytes()
