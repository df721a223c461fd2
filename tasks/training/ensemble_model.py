"""Combine trained networks into one model that averages their probabilities."""
# ruff: noqa: PLC0415  # the worker process imports Keras; the flow process does not

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.recipe import Ensemble

if TYPE_CHECKING:
    import keras


def average_models(networks: Sequence["keras.Model"], ensemble: Ensemble) -> "keras.Model":
    """Return a model that averages the predictions of every network for every view of an image.

    The views are the image and, if the ensemble has a `tta_shift`, four shifted copies. The model maps (N, ...) uint8 images
    to (N, classes) float32 probabilities.
    """
    import keras

    shape = networks[0].input_shape[1:]
    images = keras.Input(shape, dtype="uint8")
    views = [images, *_shift_images(images, shape, ensemble.tta_shift)]
    answers = [network(view) for network in networks for view in views]
    return keras.Model(images, keras.layers.Average()(answers), name=ensemble.name)


def _shift_images(images: Any, shape: tuple[int, ...], by: int) -> Iterator[Any]:
    """Yield the images shifted up, down, left and right by a number of pixels; nothing for 0 pixels.

    The uncovered border is zero.
    """
    from keras import layers

    if not by:
        return
    rows, columns = shape[:2]
    as_maps = layers.Reshape((rows, columns, -1), dtype="uint8")(images)
    wider = layers.ZeroPadding2D(by, dtype="uint8")(as_maps)
    for top, left in ((0, by), (2 * by, by), (by, 0), (by, 2 * by)):
        cropping = ((top, 2 * by - top), (left, 2 * by - left))
        yield layers.Reshape(shape, dtype="uint8")(layers.Cropping2D(cropping, dtype="uint8")(wider))


def last_features(network: "keras.Model") -> "keras.Model":
    """Return a model that outputs the input of a network's last layer, (N, units).

    For an ensemble, the features of all members are concatenated.
    """
    import keras

    if not isinstance(network.layers[-1], keras.layers.Average):
        return keras.Model(network.inputs, network.layers[-1].input)
    members = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    seen = [keras.Model(member.inputs, member.layers[-1].input)(network.inputs[0]) for member in members]
    return keras.Model(network.inputs, keras.layers.Concatenate()(seen) if len(seen) > 1 else seen[0])


def with_features(network: "keras.Model") -> "keras.Model":
    """Return a model that outputs a network's last features and its predictions, (N, units + classes)."""
    import keras

    both = [*last_features(network).outputs, *network.outputs]
    return keras.Model(network.inputs, keras.layers.Concatenate()(both), name=network.name)
