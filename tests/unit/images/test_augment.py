import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.config.augmentation import Augmentation, BarSettings, SpeckSettings
from tasks.images.augment import augment, smoothing

Images = NDArray[np.uint8]


def drawn(plan: Augmentation, images: Images, label: int = 7, seed: int = 1) -> Images:
    return augment(images, np.full(len(images), label), plan, np.random.default_rng(seed))


@pytest.fixture
def strokes() -> Images:
    """Return images with one vertical stroke in the center."""
    images = np.zeros((50, 28, 28), np.uint8)
    images[:, 4:24, 13:15] = 255
    return images


def center(images: Images) -> NDArray[np.float64]:
    weights = images.reshape(len(images), 28, 28).astype(float)
    places = np.indices((28, 28)).reshape(2, 1, 28, 28)
    return np.asarray((places * weights).sum(axis=(2, 3)) / weights.sum(axis=(1, 2)))


def test_an_augmentation_without_settings_changes_nothing(strokes: Images) -> None:
    np.testing.assert_array_equal(drawn(Augmentation(), strokes), strokes)


def test_the_same_draws_give_the_same_images_and_others_do_not(strokes: Images) -> None:
    plan = Augmentation(shift=2, rotation=10, shear=8, scale=0.1, elastic=0.7, specks=SpeckSettings(share=0.5))
    np.testing.assert_array_equal(drawn(plan, strokes), drawn(plan, strokes))
    assert (drawn(plan, strokes) != drawn(plan, strokes, seed=2)).any()
    assert (strokes[:, 4:24, 13:15] == 255).all(), "what it was given is left as it is"


def test_a_shift_moves_the_center_by_no_more_than_planned(strokes: Images) -> None:
    moved = center(drawn(Augmentation(shift=3), strokes)) - center(strokes)
    assert np.abs(moved).max() <= 3.01
    assert np.abs(moved).max(axis=1).min() > 2, "and comes near to it, down and across"


def test_a_rotation_turns_about_the_center(strokes: Images) -> None:
    turned = drawn(Augmentation(rotation=30), strokes)
    np.testing.assert_allclose(center(turned), center(strokes), atol=0.1)
    tops = [np.flatnonzero(image[5] > 100).mean() for image in turned if (image[5] > 100).any()]
    assert max(tops) - min(tops) > 5, "the upper ends swing to both sides"


def test_a_scale_changes_height_and_width_each_for_itself() -> None:
    squares = np.zeros((50, 28, 28), np.uint8)
    squares[:, 8:20, 8:20] = 255
    ink = drawn(Augmentation(scale=0.25), squares) > 127
    heights, widths = ink.any(axis=2).sum(axis=1), ink.any(axis=1).sum(axis=1)
    assert heights.min() in range(9, 11)
    assert heights.max() in range(14, 17)
    assert (heights != widths).any()


def test_a_shear_leaves_rows_in_their_place(strokes: Images) -> None:
    sheared = drawn(Augmentation(shear=20), strokes)
    np.testing.assert_array_equal(sheared.sum(axis=2, dtype=int) > 0, strokes.sum(axis=2, dtype=int) > 0)
    assert (sheared != strokes).any()


def test_an_elastic_distortion_bends_but_hardly_moves(strokes: Images) -> None:
    bent = drawn(Augmentation(elastic=1), strokes)
    assert (bent != strokes).any(axis=(1, 2)).all()
    assert np.abs(center(bent) - center(strokes)).max() < 4


def test_smooth_noise_keeps_its_deviation() -> None:
    noise = np.random.default_rng(1).standard_normal((4000, 28))
    np.testing.assert_allclose((noise @ smoothing(28, 4.0).T).std(axis=0), 1, atol=0.05)


def test_no_image_leaks_into_its_neighbor() -> None:
    images = np.zeros((40, 28, 28), np.uint8)
    images[::2] = 255
    moved = drawn(Augmentation(shift=5, rotation=20, elastic=2), images)
    assert (moved[::2] == 255).all()
    assert (moved[1::2] == 0).all()


def test_bars_cross_the_stems_of_one_label_alone(strokes: Images) -> None:
    plan = Augmentation(bars=BarSettings(label=7, share=1))
    barred = drawn(plan, strokes)
    assert (barred >= strokes).all(), "ink is added, none is taken away"
    added = (barred > strokes).any(axis=2)
    assert added.any(axis=1).all()
    assert not added[:, :9].any(), "in the middle of the height"
    assert not added[:, 20:].any()
    assert (barred[:, :, :13] > 100).any(axis=(1, 2)).all(), "on both sides of the stem"
    assert (barred[:, :, 15:] > 100).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(drawn(plan, strokes, label=1), strokes)


def test_a_share_of_the_images_is_altered() -> None:
    images = np.zeros((2000, 28, 28), np.uint8)
    images[:, 4:24, 13:15] = 255
    for plan in (
        Augmentation(bars=BarSettings(label=7, share=0.3)),
        Augmentation(specks=SpeckSettings(share=0.3, most=5)),
    ):
        share = (drawn(plan, images) != images).any(axis=(1, 2)).mean()
        assert share == pytest.approx(0.3, abs=0.05)


def test_an_image_without_ink_gets_no_bar() -> None:
    blank = np.zeros((5, 28, 28), np.uint8)
    np.testing.assert_array_equal(drawn(Augmentation(bars=BarSettings(label=7, share=1)), blank), blank)


def test_images_in_color_and_of_other_sizes_keep_their_shape() -> None:
    plan = Augmentation(
        shift=2, rotation=10, elastic=1, bars=BarSettings(label=7, share=1), specks=SpeckSettings(share=1)
    )
    images = np.random.default_rng(3).integers(0, 256, (6, 20, 33, 3), np.uint8)
    found = drawn(plan, images)
    assert (found.shape, found.dtype) == (images.shape, np.uint8)
    gray = np.repeat(images[..., :1], 3, axis=-1)
    moved = drawn(plan, gray)
    np.testing.assert_array_equal(moved[..., 0], moved[..., 2])
