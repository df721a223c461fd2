"""Build, compile and save the Keras model of a network in a recipe.

A network is a flat list of layers or a function. The model maps raw bytes to probabilities. Functions import Keras
where they need it, because the import takes many seconds and the flow process never needs it.
"""
# ruff: noqa: PLC0415

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from tasks.config.network_function import fault_in_function, import_function
from tasks.config.recipe import BatchNorm, Conv, Dense, Dropout, Flatten, Layer, MaxPool, Network, Training
from tasks.data.split_parquet import Labels, label_type
from tasks.engine.workspace import Workspace
from tasks.errors import RecipeError, first_line
from tasks.schemas.records import FileRecord
from tasks.storage.backend import storage_errors
from tasks.storage.content_files import move_into_store
from tasks.storage.folders import Folder
from tasks.training.keras_runtime import reproducible_parts
from tasks.training.training_progress import Figures

if TYPE_CHECKING:
    import keras

Step = Callable[[tuple[NDArray[np.uint8], Labels]], Figures]  # (images, labels) -> metrics of the epoch so far


def build(network: Network, shape: tuple[int, ...], classes: int) -> "keras.Model":
    """Build a network: (N, *shape) uint8 in, (N, classes) float32 probabilities out.

    Scaling is a layer of the model, so that a saved model takes raw bytes, and training and prediction can't scale
    differently.

    Raises:
        RecipeError: If the layers do not fit each other or the images, or the function fails.
    """
    import keras

    before = [
        keras.Input(shape, dtype="uint8"),
        *([] if len(shape) == 3 else [keras.layers.Reshape((*shape, 1))]),  # grayscale: add the channel axis
        keras.layers.Rescaling(1 / 255),
    ]
    try:
        if network.function:
            return _made_by_function(network, before, classes)
        # The order matters: each layer draws its seed when it is created.
        return keras.Sequential([*before, *map(_layer_of, network.layers), _softmax(classes)], name=network.name)
    except RecipeError:  # a subclass of ValueError
        raise
    except ValueError as error:
        size = " x ".join(map(str, shape[:2]))
        raise RecipeError(
            f"the layers of model {network.name!r} don't fit images of {size} pixels: {first_line(error)}"
        ) from error


def _softmax(classes: int) -> "keras.layers.Layer":
    import keras

    return keras.layers.Dense(classes, activation="softmax")


def _made_by_function(network: Network, before: list[Any], classes: int) -> "keras.Model":
    """Return a network whose hidden layers are made by a user's function."""
    import keras

    assert network.function  # noqa: S101  # the caller has checked it
    function = import_function(network.function, network.file, network.code)
    inputs, *scaling = before
    scaled = inputs
    for layer in scaling:
        scaled = layer(scaled)
    try:
        made = function(scaled, **network.arguments)
        model = keras.Model(inputs, _softmax(classes)(made), name=network.name)
    except (Exception, SystemExit) as error:  # any error of a user's function; SystemExit would end the worker process
        raise RecipeError(f"model {network.name!r}: {network.function} fails: {fault_in_function(error)}") from error
    if len(made.shape) != 2:
        raise RecipeError(
            f"model {network.name!r}: {network.function} returns {made.shape}, not (N, units): flatten the output"
        )
    for layer in model.layers:
        if not type(layer).__module__.startswith("keras.") or isinstance(layer, keras.layers.Lambda):
            raise RecipeError(
                f"model {network.name!r}: {network.function} uses the unsupported layer {type(layer).__name__}: a saved "
                "model is loaded without its code, so use only Keras's own layers, and no Lambda"
            )
    return model


def _layer_of(spec: Layer) -> "keras.layers.Layer":
    import keras.layers as made

    match spec:
        case Conv(filters=filters, kernel=kernel, stride=stride):
            return made.Conv2D(filters, kernel, stride, padding="same", activation="relu")
        case MaxPool(size=size):
            return made.MaxPooling2D(size)
        case BatchNorm(momentum=momentum):
            return made.BatchNormalization(momentum=momentum)
        case Dropout(rate=rate):
            return made.Dropout(rate)
        case Flatten():
            return made.Flatten()
        case Dense(units=units):
            return made.Dense(units, activation="relu")


def compile_for(training: Training, model: "keras.Model", steps: int) -> None:
    """Compile a model for training; `steps` is the number of steps per epoch."""
    import keras

    model.compile(
        optimizer=keras.optimizers.Adam(
            learning_rate(training, steps * training.epochs),
            use_ema=training.weight_averaging is not None,
            ema_momentum=training.weight_averaging or 0.0,
        ),
        loss=cross_entropy(training.label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
    )
    # Otherwise the first step creates the optimizer's state: TensorFlow traces twice, and no state can be restored.
    model.optimizer.build(model.trainable_variables)


def compile_network(step: "Callable[[Any], Any]", shape: tuple[int, ...], classes: int) -> Step:
    """Return a model's `train_step` or `test_step` as a TensorFlow graph, for batches of any size.

    Not `train_on_batch`: it would compile again for the smaller batch at the end of an epoch, and it resets the metrics
    at each batch.
    """
    import tensorflow as tf

    label = tf.as_dtype(label_type(classes))
    signature = [(tf.TensorSpec((None, *shape), tf.uint8), tf.TensorSpec((None,), label))]
    # As in Keras's own trainer: AutoGraph only converts control flow, and its conversion of Keras takes a second.
    return cast("Step", tf.function(step, input_signature=signature, autograph=False))


def learning_rate(training: Training, steps: int) -> "float | keras.optimizers.schedules.LearningRateSchedule":
    """Return the learning rate, or its schedule over all steps."""
    from keras.optimizers.schedules import CosineDecay

    if training.schedule is None:
        return training.learning_rate
    warm_up = min(round(steps * training.schedule.warm_up), steps - 1)  # leave at least one step for the decay
    if not warm_up:
        return CosineDecay(training.learning_rate, steps)
    return CosineDecay(0.0, steps - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up)


def cross_entropy(smoothing: float) -> "str | Callable[[Any, Any], Any]":
    """Return the cross-entropy loss between integer labels and probabilities, smoothed if `smoothing` is not 0."""
    import keras

    if not smoothing:
        return "sparse_categorical_crossentropy"

    def smoothed(labels: Any, probabilities: Any) -> Any:
        """Return the smoothed loss from one-hot labels, because Keras does not smooth integer labels."""
        vectors = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(labels, [-1]), "int32"), probabilities.shape[-1])
        return keras.losses.categorical_crossentropy(vectors, probabilities, label_smoothing=smoothing)

    return smoothed


def save(model: "keras.Model", path: Path) -> None:
    """Save a model so that equal weights give equal bytes."""
    model.save(path)
    with zipfile.ZipFile(path) as saved:
        parts = reproducible_parts({name: saved.read(name) for name in saved.namelist()})
    with zipfile.ZipFile(path, "w") as saved:
        for name in sorted(parts):
            saved.writestr(zipfile.ZipInfo(name), parts[name])  # ZipInfo's default time is 1980-01-01


def save_model(model: "keras.Model", name: str, work: Workspace) -> FileRecord:
    """Save a model in the models folder under the root.

    Raises:
        StorageError: If the model can't be written.
    """
    with work.scratch() as scratch:
        path = scratch / f"{name}.keras"
        with storage_errors(path):
            save(model, path)
        return move_into_store(work.root, Folder.MODELS, name, ".keras", path)


@contextmanager
def averaged_weights(model: "keras.Model") -> Iterator[None]:
    """Replace the weights by their averages within the context, and restore them after it.

    The weights stay as they are if the optimizer does not average them.

    Not Keras's SwapEMAWeights: it swaps by addition and subtraction, which rounds the restored weights.
    """
    if not model.optimizer.use_ema:
        yield
        return
    weights = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
