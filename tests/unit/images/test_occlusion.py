"""Test occlusion with a fully known model: it predicts 1 if there is ink in the top left corner, and 0 otherwise."""

import numpy as np
from numpy.typing import NDArray

from tasks.images.occlusion import (
    between,
    blank_of,
    centers,
    edges,
    heat_window,
    occlusion_maps,
    smallest_correcting_patches,
    square_patches,
)
from tasks.schemas.findings import Patch

Images = NDArray[np.uint8]


def predict(images: Images) -> NDArray[np.float32]:
    dirty = images[:, :4, :4].any(axis=(1, 2)).astype(np.float32)
    return np.stack([0.9 - 0.8 * dirty, 0.1 + 0.8 * dirty], axis=1).astype(np.float32)


def digit(*dirt: tuple[int, int]) -> Images:
    image = np.zeros((28, 28), np.uint8)
    image[8:20, 12:16] = 255
    for row, column in dirt:
        image[row, column] = 200
    return image


def test_the_smallest_patch_that_corrects_the_prediction_is_found() -> None:
    images = np.array([digit((2, 1)), digit((1, 1), (3, 3)), digit((0, 0), (0, 2))])
    one, three, three_too = smallest_correcting_patches(images, np.zeros(3, np.uint8), predict)
    assert one == Patch(row=2, column=1, edge=1, probability=one.probability if one else 0)
    assert three is not None
    assert (three.row, three.column, three.edge) == (1, 1, 3)
    assert three_too is not None
    assert three_too.edge == 3
    assert one is not None
    assert one.probability > 0.89


def test_there_is_no_patch_if_none_corrects_the_prediction() -> None:
    images = np.array([digit(), np.zeros((28, 28), np.uint8)])
    assert smallest_correcting_patches(images, np.ones(2, np.uint8), predict) == [None, None]


def test_the_heat_map_is_bright_where_erasing_helps() -> None:
    (heat,) = occlusion_maps(np.array([digit((2, 1))]), np.zeros(1, np.uint8), predict)
    assert heat.shape == (28, 28)
    assert (heat > 0.8).nonzero()[0].tolist() == [row for row in range(5) for _ in range(3)]
    np.testing.assert_allclose(heat[:5, 3], 0.5, atol=0.01)  # halfway between two windows, one with effect
    assert heat[14, 14] < 0.2


def test_windows_reach_every_side() -> None:
    assert centers(28, 5).tolist() == [*range(0, 28, 2), 27]
    weights = between(28, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[[0, 1, 27]][:, [0, 1, -1]], [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]])


def test_no_images_give_empty_results() -> None:
    none = np.zeros((0, 28, 28), np.uint8)
    assert smallest_correcting_patches(none, np.zeros(0, np.uint8), predict) == []
    assert occlusion_maps(none, np.zeros(0, np.uint8), predict).shape == (0, 28, 28)


def test_progress_is_told_for_every_size() -> None:
    told: list[int] = []
    smallest_correcting_patches(np.array([digit((2, 1))]), np.zeros(1, np.uint8), predict, told.append)
    assert told == list(range(1, len(list(edges((28, 28)))) + 1))


def test_sizes_fit_the_image() -> None:
    assert heat_window((28, 28)) == 5
    assert list(edges((28, 28))) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]
    assert max(edges((8, 100))) <= 4


def test_erased_pixels_of_color_images_get_the_mean_color() -> None:
    images = np.full((2, 28, 28, 3), (90, 30, 60), np.uint8)
    images[0, 2, 1] = (200, 0, 0)
    blank = blank_of(images)
    assert blank.tolist() == [90, 30, 60]
    told: list[set[tuple[int, ...]]] = []

    def red(some: Images) -> NDArray[np.float32]:
        told.append({tuple(pixel) for pixel in some[:, 2, 1].tolist()})
        return predict((some[..., 0] > 100).astype(np.uint8))

    patches = smallest_correcting_patches(images, np.zeros(2, np.uint8), red, blank=blank)
    assert patches[0] is not None
    assert (patches[0].row, patches[0].column, patches[0].edge) == (2, 1, 1)
    assert set().union(*told) <= {(200, 0, 0), (90, 30, 60)}
    assert occlusion_maps(images, np.zeros(2, np.uint8), red, blank=blank).shape == (2, 28, 28)


def test_of_large_images_no_more_squares_are_tried_than_of_small_ones() -> None:
    for size in (48, 49, 64, 224, 1000):
        tried = [len(square_patches(size, size, edge)[0]) for edge in edges((size, size))]
        assert 1 <= len(tried) <= 16
        assert max(tried) <= 48 * 48
        assert next(edges((size, size))) == (1 if size == 48 else size // 16)
