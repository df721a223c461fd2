"""Save a training's state after each epoch, and restore it in a later run.

A checkpoint is a content-addressed weights file, which includes the optimizer's state, and a checksummed JSON file that
names it. The weights file is written first, so that the two always match. Keras's own BackupAndRestore overwrites the
weights and the epoch in two steps: a process that is killed between them would train an epoch twice.
"""

from collections.abc import Sequence

import keras

from tasks.base import Frozen
from tasks.engine.run_log import log
from tasks.engine.workspace import STATE, Workspace, is_state
from tasks.errors import StorageError
from tasks.schemas.records import Epoch, FileRecord
from tasks.storage.backend import storage_errors
from tasks.storage.checksummed_json import read_checksummed, write_checksummed
from tasks.storage.content_files import move_into_store, require_valid


class State(Frozen):
    """The weights file and the history of an unfinished training."""

    weights: FileRecord
    history: tuple[Epoch, ...]


def save_checkpoint(model: keras.Model, history: Sequence[Epoch], work: Workspace) -> None:
    """Save the model's weights and the optimizer's state after an epoch, and remove those of earlier epochs.

    Raises:
        StorageError: If they can't be written.
    """
    with work.scratch() as scratch:
        path = scratch / "epoch.weights.h5"
        with storage_errors(path):
            model.save_weights(path)
        weights = move_into_store(work.resume_dir, ".", f"epoch-{len(history):05}", ".weights.h5", path)
    write_checksummed(work.resume_dir, STATE, State(weights=weights, history=tuple(history)))
    for older in work.resume_dir.glob("*.weights.h5"):
        if older.name != weights.path and is_state(older):
            older.unlink(missing_ok=True)


def load_checkpoint(model: keras.Model, work: Workspace) -> tuple[Epoch, ...]:
    """Restore the last checkpoint into a newly compiled model.

    A checkpoint that is missing or altered is not restored, and the training starts from the first epoch.

    Returns:
        The history of the restored epochs; empty if there is no valid checkpoint.
    """
    path = work.resume_dir / STATE
    if not path.exists():
        return ()
    try:
        state = read_checksummed(path, State)
        weights = require_valid(work.resume_dir, state.weights)
    except StorageError as error:
        log(f"{model.name}: can't use the checkpoint, training from the first epoch: {error}")
        return ()
    model.load_weights(weights)
    log(f"{model.name}: resuming after epoch {len(state.history)}, from the checkpoint of an unfinished run")
    return state.history
