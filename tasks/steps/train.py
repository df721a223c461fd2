"""Train: one network on the training split.

In: a Training, and the record of the training split. Out: a ModelRecord, whose file is a `.keras` model that takes raw bytes.
Runs in a process of its own, since seeds and Keras's state are a process's. A training that was killed goes on from its last
finished epoch, and ends where it would have ended undisturbed: the order of the images depends on the seed and the epoch alone.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that trains, and not by the flow

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from tasks.config.recipe import Training
from tasks.data.batching import BatchStream, Block, held_out_indices
from tasks.engine.cached_task import step
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

_AUGMENTS = 0x6A5D39EA  # tells what augmentation draws from what the feed draws with the same seed
_TRAIN_SECONDS = 24 * 3600.0  # the longest recipe takes an hour; after a day, the next night's run has begun


@step(
    "train {training.network.name}",
    libraries=("keras", "numpy", "pyarrow", "scipy", "tensorflow"),
    timeout_seconds=_TRAIN_SECONDS,
    tags=["train"],  # by which a server can limit how many train at once
)
def train(training: Training, split: SplitRecord, work: Workspace) -> ModelRecord:
    """Train one network and save it.

    Raises:
        RecipeError: the network does not fit the images.
        DivergedError: the loss or the weights are not finite after an epoch.
        StorageError: the split is gone or altered, or the model can't be written.
    """
    import_keras()
    from tasks.training.checkpoint import load_checkpoint, save_checkpoint

    paths = require_all_valid(work.root, split.parts)
    _, held_out = held_out_indices(split.count, round(split.count * training.validation), training.seed)
    feed = BatchStream(paths, split.shape, len(split.classes), held_out, training.batch, training.seed)
    seed_everything(training.seed)
    model = build(training.network, split.shape, len(split.classes))
    compile_for(training, model, feed.steps)
    learn, ask = (
        compile_network(step, split.shape, len(split.classes)) for step in (model.train_step, model.test_step)
    )
    done = load_checkpoint(model, work)
    progress = Progress(training.network.name, feed.count, training.epochs, done)
    for epoch in range(len(done), training.epochs):
        progress.begin(epoch)
        seed_epoch(model, training.seed, epoch)
        model.reset_metrics()
        # Not `fit`: it takes a fifth longer for small batches, and its data sets hang for seconds when they go.
        for images, labels in batches(feed, training, epoch):
            progress.learned(len(labels), learn((images, labels)))
        with _stopped_if_diverged(training, epoch):
            progress.end(check_validation(model, ask, feed))
            refuse_infinite(model)
        save_checkpoint(model, progress.history, work)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # averages, where they are asked for
    fit_seconds = round(sum(line.seconds for line in progress.history), 3)
    log(f"{training.network.name}: {model.count_params():,} parameters, trained in {fit_seconds:.1f} s")
    return ModelRecord(
        name=training.network.name,
        file=save_model(model, training.network.name, work),
        parameters=model.count_params(),
        trained_on=feed.count,
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
    """Say of which training a number is not finite, and what to change.

    Raises:
        DivergedError: one is not.
    """
    network = training.network
    try:
        yield
    except DivergedError as error:
        function = (
            f", or change {network.function} so that no number in it grows without bound" if network.function else ""
        )
        raise DivergedError(
            f"the training of {network.name} (seed {training.seed}) diverged in epoch {epoch + 1} of {training.epochs}: "
            f"{error}; it was stopped, and no model is kept: lower the recipe's learning_rate "
            f"({training.learning_rate:g}){function}"
        ) from error


def refuse_infinite(model: "keras.Model") -> None:
    """Check every weight, trained or not.

    Raises:
        DivergedError: one is not finite.
    """
    for weight in model.weights:
        if not np.isfinite(weight.numpy().astype(np.float64)).all():
            raise DivergedError(f"the weights {weight.path} are not finite")


def batches(feed: BatchStream, training: Training, epoch: int) -> Iterator[Block]:
    """The batches of one epoch, augmented as the training says: by the seed and the epoch alone."""
    plan = training.augmentation
    draws = np.random.default_rng((training.seed, epoch, _AUGMENTS))
    for images, labels in feed.epoch(epoch):
        yield (augment(images, labels, plan, draws) if plan else images), labels


def check_validation(model: "keras.Model", ask: Step, feed: BatchStream) -> Figures | None:
    """Loss and accuracy on what is held out, of the model as it would be saved now; None if nothing is."""
    figures = None
    model.reset_metrics()
    with averaged_weights(model):
        for block in feed.held_out():
            figures = ask(block)
    return figures
