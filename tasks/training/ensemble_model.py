"""Trained networks as one model, which answers by the mean of their probabilities."""
# ruff: noqa: PLC0415  # Keras is imported by the worker that combines, and not by the flow

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tasks.config.recipe import Ensemble

if TYPE_CHECKING:
    import keras


def average_models(networks: Sequence["keras.Model"], ensemble: Ensemble) -> "keras.Model":
    """A model that asks every network about every view of an image: (N, ...) uint8 in, (N, classes) float32 out."""
    import keras

    shape = networks[0].input_shape[1:]
    images = keras.Input(shape, dtype="uint8")
    views = [images, *_shift_images(images, shape, ensemble.shift)]
    answers = [network(view) for network in networks for view in views]
    return keras.Model(images, keras.layers.Average()(answers), name=ensemble.name)


def _shift_images(images: Any, shape: tuple[int, ...], by: int) -> Iterator[Any]:
    """Images shifted up, down, left and right by so many pixels, if any; what comes in is blank."""
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
    """What the last layer of a network sees, (N, units); of an ensemble, what those of all its members see."""
    import keras

    if not isinstance(network.layers[-1], keras.layers.Average):
        return keras.Model(network.inputs, network.layers[-1].input)
    members = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    seen = [keras.Model(member.inputs, member.layers[-1].input)(network.inputs[0]) for member in members]
    return keras.Model(network.inputs, keras.layers.Concatenate()(seen) if len(seen) > 1 else seen[0])


def with_features(network: "keras.Model") -> "keras.Model":
    """A network that says what its last layer sees, and then what it says: (N, units + classes)."""
    import keras

    both = [*last_features(network).outputs, *network.outputs]
    return keras.Model(network.inputs, keras.layers.Concatenate()(both), name=network.name)
