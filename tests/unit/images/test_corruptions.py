import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found = np.zeros((30, 28, 28), np.uint8)
    found[:, 6:22, 12:16] = 200
    return found


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_harm_grows_with_its_severity(kind: str, images: NDArray[np.uint8]) -> None:
    def away(severity: int) -> float:
        return float(np.abs(corrupt(images, kind, severity).astype(int) - images).mean())

    found = [away(severity) for severity in SEVERITIES]
    assert found == sorted(found)
    assert 0 < found[0] < found[-1]


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_images_are_harmed_in_the_same_way(kind: str, images: NDArray[np.uint8]) -> None:
    before = images.copy()
    np.testing.assert_array_equal(corrupt(images, kind, 3), corrupt(images, kind, 3))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_color_and_other_sizes_keep_their_shape(kind: str) -> None:
    colored = np.random.default_rng(1).integers(0, 256, (4, 40, 52, 3), np.uint8)
    found = corrupt(colored, kind, 5)
    assert (found.shape, found.dtype) == (colored.shape, np.uint8)


def test_the_last_inversion_is_the_negative(images: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(corrupt(images, "inversion", 5), 255 - images)


def test_an_occlusion_takes_ink_and_a_stripe_and_dirt_add_some(images: NDArray[np.uint8]) -> None:
    assert (corrupt(images, "occlusion", 5) <= images).all()
    for kind in ("stripe", "dirt"):
        assert (corrupt(images, kind, 5) >= images).all()
