"""Back-up: a training's state after each epoch, from which a killed one goes on.

In: a model that is being trained, and its history. Out: a weights file with the optimizer's state, named by its content, and a
sealed file that names it, written in this order, so that the two always belong together. Keras's own BackupAndRestore writes
weights and epoch one after the other in place: killed between the two, it would train an epoch twice.
"""

from collections.abc import Sequence

import keras

from tasks.base import Frozen
from tasks.engine.run_log import log
from tasks.engine.workspace import STATE, Workspace, is_state
from tasks.errors import StorageError
from tasks.schemas.records import Epoch, FileRecord
from tasks.storage.checksummed_json import read_checksummed, write_checksummed
from tasks.storage.content_files import move_into_store, require_valid, storage_errors


class State(Frozen):
    """How far a training has come."""

    weights: FileRecord
    history: tuple[Epoch, ...]


def save_checkpoint(model: keras.Model, history: Sequence[Epoch], work: Workspace) -> None:
    """Keep the model's weights and its optimizer's state after an epoch, in place of those after the one before.

    Raises:
        StorageError: they can't be written.
    """
    with work.scratch() as scratch:
        path = scratch / "epoch.weights.h5"
        with storage_errors(path):
            model.save_weights(path)
        weights = move_into_store(work.unfinished, ".", f"epoch-{len(history):05}", ".weights.h5", path)
    write_checksummed(work.unfinished / STATE, State(weights=weights, history=tuple(history)))
    for older in work.unfinished.glob("*.weights.h5"):
        if older.name != weights.path and is_state(older):
            older.unlink(missing_ok=True)


def load_checkpoint(model: keras.Model, work: Workspace) -> tuple[Epoch, ...]:
    """Set a fresh compiled model to the last state that was kept; the history until then, empty if there is none."""
    path = work.unfinished / STATE
    if not path.exists():
        return ()
    try:
        state = read_checksummed(path, State)
        weights = require_valid(work.unfinished, state.weights)
    except StorageError as error:
        log(f"{model.name}: the back-up is of no use, from the first epoch then: {error}")
        return ()
    model.load_weights(weights)
    log(f"{model.name}: goes on after epoch {len(state.history)}, from the back-up of a run that did not finish")
    return state.history
