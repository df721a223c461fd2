"""Train one network on the training split.

The result is a `.keras` model that takes raw bytes. The step runs in its own process, because seeds and Keras's state
are global to a process. A training that was killed resumes after its last finished epoch and gives the same result as
an uninterrupted training, because the order of the images depends only on the seed and the epoch.
"""
# ruff: noqa: PLC0415  # the worker process imports TensorFlow; the flow process does not

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from tasks.config.recipe import Training
from tasks.data.batching import BatchStream, Block, held_out_indices
from tasks.engine.cached_task import Hints, step
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.errors import DivergedError
from tasks.images.augment import augment
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.storage.content_files import require_all_valid
from tasks.training.keras_runtime import import_keras, seed_epoch, seed_everything, threads
from tasks.training.network import Step, averaged_weights, build, compile_for, compile_network, save_model
from tasks.training.training_progress import Figures, Progress

if TYPE_CHECKING:
    import keras

_AUGMENTS = 0x6A5D39EA  # separates augmentation's random numbers from those of the batch stream with the same seed
_TRAIN_SECONDS = 24 * 3600.0  # the longest recipe takes an hour; after a day, the next nightly run has begun


@step(
    "train {training.network.name}",
    libraries=("keras", "numpy", "pyarrow", "scipy", "tensorflow"),
    hints=Hints(result_name="{training.network.name}", grows_with="training.epochs"),
    timeout_seconds=_TRAIN_SECONDS,
    tags=["train"],  # a server can limit the number of concurrent trainings by this tag
)
def train(training: Training, split: SplitRecord, work: Workspace) -> ModelRecord:
    """Train one network and save it.

    Raises:
        RecipeError: If the network does not fit the images.
        DivergedError: If the loss or the weights are not finite after an epoch.
        StorageError: If the split is missing or altered, or the model can't be written.
    """
    import_keras()
    from tasks.training.checkpoint import load_checkpoint, save_checkpoint

    paths = require_all_valid(work.root, split.parts)
    _, held_out = held_out_indices(split.count, round(split.count * training.validation), training.seed)
    shape, classes = split.shape, len(split.classes)
    stream = BatchStream(paths, shape, classes, held_out, training.batch, training.seed)
    seed_everything(training.seed)
    model = build(training.network, shape, classes)
    compile_for(training, model, stream.steps)
    train_step, test_step = (compile_network(one, shape, classes) for one in (model.train_step, model.test_step))
    done = load_checkpoint(model, work)
    progress = Progress(training.network.name, stream.count, training.epochs, done)
    for epoch in range(len(done), training.epochs):
        progress.begin(epoch)
        seed_epoch(model, training.seed, epoch)
        model.reset_metrics()
        # Not `fit`: it takes 20 % longer for small batches, and the deletion of its datasets blocks for seconds.
        for images, labels in batches(stream, training, epoch):
            progress.add_batch(len(labels), train_step((images, labels)))
        with _stopped_if_diverged(training, epoch):
            progress.end(evaluate_held_out(model, test_step, stream))
            require_finite_weights(model)
        save_checkpoint(model, progress.history, work)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # set averaged weights, if there are any
    fit_seconds = round(sum(line.seconds for line in progress.history), 3)
    log(f"{training.network.name}: {model.count_params():,} parameters, trained in {fit_seconds:.1f} s")
    return ModelRecord(
        name=training.network.name,
        file=save_model(model, training.network.name, work),
        parameters=model.count_params(),
        trained_on=stream.count,
        held_out=len(held_out),
        batch=training.batch,
        seed=training.seed,
        threads=threads(),
        epochs=training.epochs,
        history=tuple(progress.history),
        fit_seconds=fit_seconds,
    )


@contextmanager
def _stopped_if_diverged(training: Training, epoch: int) -> Iterator[None]:
    """Add the training, the epoch and a remedy to the message of a DivergedError."""
    network = training.network
    try:
        yield
    except DivergedError as error:
        function = (
            f", or change {network.function} so that no number in it grows without bound" if network.function else ""
        )
        raise DivergedError(
            f"the training of {network.name} (seed {training.seed}) diverged in epoch {epoch + 1} of {training.epochs}: "
            f"{error}; the training was stopped, and no model was kept; lower the recipe's learning_rate "
            f"({training.learning_rate:g}){function}"
        ) from error


def require_finite_weights(model: "keras.Model") -> None:
    """Check that every weight is finite, including the weights that are not trained.

    Raises:
        DivergedError: If a weight is not finite.
    """
    for weight in model.weights:
        if not np.isfinite(weight.numpy().astype(np.float64)).all():
            raise DivergedError(f"the weights {weight.path} are not finite")


def batches(stream: BatchStream, training: Training, epoch: int) -> Iterator[Block]:
    """Yield the batches of one epoch, with augmentation that depends only on the training's seed and the epoch."""
    plan = training.augmentation
    draws = np.random.default_rng((training.seed, epoch, _AUGMENTS))
    for images, labels in stream.epoch(epoch):
        yield (augment(images, labels, plan, draws) if plan else images), labels


def evaluate_held_out(model: "keras.Model", test_step: Step, stream: BatchStream) -> Figures | None:
    """Return the loss and the accuracy on the held-out images; None if no images are held out.

    The model is evaluated as it would be saved now, with averaged weights if the training uses weight averaging.
    """
    figures = None
    model.reset_metrics()
    with averaged_weights(model):
        for block in stream.held_out():
            figures = test_step(block)
    return figures
