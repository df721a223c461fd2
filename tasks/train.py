"""Train: one network on the training split.

In: a Training, and the record of the training split. Out: a ModelRecord, whose file is a `.keras` model that takes raw bytes.
Runs in a process of its own, since seeds and Keras's state are a process's. A training that was killed goes on from its last
finished epoch, and ends where it would have ended undisturbed: the order of the images depends on the seed and the epoch alone.
"""
# ruff: noqa: PLC0415  # TensorFlow is imported by the worker that trains, and not by the flow

import numpy as np
from numpy.typing import NDArray

from tasks.files import adopt, verified, writable
from tasks.log import say
from tasks.quiet import import_quietly
from tasks.recipe import Training
from tasks.records import ModelRecord, SplitRecord
from tasks.split import read_split
from tasks.step import step
from tasks.workspace import Workspace

TRAIN_SECONDS = 24 * 3600.0  # the longest recipe takes an hour; after a day, the next night's run has begun


@step(
    "train {training.network.name}",
    libraries=("keras", "numpy", "pyarrow", "tensorflow"),
    timeout_seconds=TRAIN_SECONDS,
    tags=["train"],  # by which a server can limit how many train at once
)
def train(training: Training, split: SplitRecord, work: Workspace) -> ModelRecord:
    """Train one network and save it.

    Raises:
        RecipeError: the network does not fit the images.
        StorageError: the split is gone or altered, or the model can't be written.
    """
    import_quietly("keras")
    from tasks.backup import back_up, restore
    from tasks.network import build, compile_for, save, seed_everything, threads
    from tasks.progress import Progress

    data = read_split(verified(work.root, split.file))
    count = len(data.labels)
    kept, held_out = held_out_indices(count, round(count * training.validation), training.seed)
    seed_everything(training.seed)
    model = build(training.network, split.shape, len(split.classes))
    compile_for(training, model)
    done = restore(model, work)
    progress = Progress(training.network.name, len(kept), training.epochs, training.batch, done)
    for epoch in range(len(done), training.epochs):
        order = kept[shuffled(len(kept), training.seed, epoch)]
        model.fit(
            data.images[order],
            data.labels[order],
            batch_size=training.batch,
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
            validation_data=(data.images[held_out], data.labels[held_out]) if len(held_out) else None,
            callbacks=[progress],
            verbose=0,
        )
        back_up(model, progress.history_lines, work)
    fit_seconds = round(sum(line.seconds for line in progress.history_lines), 3)
    say(f"{training.network.name}: {model.count_params():,} parameters, trained in {fit_seconds:.1f} s")
    with work.scratch() as scratch:
        path = scratch / f"{training.network.name}.keras"
        with writable(path):
            save(model, path)
        file = adopt(work.root, "models", training.network.name, ".keras", path)
    return ModelRecord(
        name=training.network.name,
        file=file,
        parameters=model.count_params(),
        trained_on=len(kept),
        held_out=len(held_out),
        batch=training.batch,
        seed=training.seed,
        threads=threads(),
        history=tuple(progress.history_lines),
        fit_seconds=fit_seconds,
    )


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """The order of `count` images in one epoch, counted from 0."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def held_out_indices(count: int, held_out: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which of `count` images are trained on, and which are held out: a seeded draw, both in ascending order."""
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
