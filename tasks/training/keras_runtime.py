"""Keras in a process: import it without noise, and seed everything that it draws from."""
# ruff: noqa: PLC0415

import importlib
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from tasks.safety.environment import KERAS_CACHE

if TYPE_CHECKING:
    import keras


# What Keras imports where it finds it, for functions that no step uses: a third of its own import's time.
_NOT_FOR_KERAS = ("matplotlib", "pandas", "sklearn")


def without_hdf5_echo() -> None:
    """From now on, drop what h5py says once more of a failed write when its objects go: the write itself has raised it.

    Each of them says it twice: as an error that nobody has caught, and as one that can't be raised.
    """
    uncaught, unraisable = sys.excepthook, sys.unraisablehook

    def uncaught_hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not any(frame.f_code.co_name.startswith("h5py._objects") for frame, _ in traceback.walk_tb(trace)):
            uncaught(kind, error, trace)

    def unraisable_hook(raised: "sys.UnraisableHookArgs") -> None:
        if "h5py" not in str(raised.object):
            unraisable(raised)

    sys.excepthook, sys.unraisablehook = uncaught_hook, unraisable_hook


def import_keras() -> None:
    """Import Keras and TensorFlow while what is written to file descriptor 2 goes nowhere; what is raised is raised."""
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, hidden(_NOT_FOR_KERAS):
        os.dup2(sink.fileno(), 2)
        try:
            importlib.import_module("keras")
            _keep_downloads_with_the_user()
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _keep_downloads_with_the_user() -> None:
    """Let `keras.utils.get_file`, which a user's function may call, keep files where Keras would without our settings."""
    config = importlib.import_module("keras.src.backend.config")
    config._KERAS_DIR = os.environ.get(KERAS_CACHE) or os.path.expanduser("~/.keras")  # type: ignore[attr-defined]  # noqa: PTH111, SLF001


@contextmanager
def hidden(packages: Sequence[str]) -> Iterator[None]:
    """Packages as if they were not installed, unless they are imported already."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None is how Python itself says it
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, number the layers from the start, and leave no order of summation to chance."""
    import keras
    import tensorflow as tf
    from keras.src.random import seed_generator

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    # Keras draws the layers' seeds from Python's generator, from which other threads draw, too: Prefect's and Dask's.
    seed_generator.python_random = random.Random(seed)  # noqa: S311  # nothing secret
    tf.config.experimental.enable_op_determinism()


def seed_epoch(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set what a model's layers draw from, such as for dropout, by the seed and the epoch alone: Keras does not save it."""
    states = [one for one in model.variables if one.path.endswith("seed_generator_state")]
    for number, state in enumerate(states):
        draws = np.random.default_rng((seed, epoch, number))
        state.assign(draws.integers(0, 2**31, state.shape).astype(state.dtype))


def threads() -> int:
    """How many TensorFlow threads an operation may use in this process; 0 stands for all cores."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0"))
