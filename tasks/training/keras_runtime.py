"""Configure Keras in a process: import it without log output, and seed all of its random generators.

This module also contains all uses of Keras's private API and of the undocumented parts of its files, which
`tests/unit/training/test_keras_runtime.py` checks with the installed version.
"""
# ruff: noqa: PLC0415

import importlib
import json
import os
import random
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from tasks.safety.environment import KERAS_CACHE

if TYPE_CHECKING:
    import keras


# Keras imports these packages if they are installed. No step needs them, and they take a third of its import time.
_NOT_FOR_KERAS = ("matplotlib", "pandas", "sklearn")

_METADATA, _CONFIG = "metadata.json", "config.json"
# All parts that Keras writes into a model's file. Keras would also unpack other parts.
MODEL_PARTS = frozenset({_METADATA, _CONFIG, "model.weights.h5"})


def without_hdf5_echo() -> None:
    """Install exception hooks that drop h5py's repeated messages about a failed write.

    When h5py's objects are deleted, each of them reports the failed write twice, as an uncaught error and as an
    unraisable error. The write itself has already raised the error.
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
    """Import Keras and TensorFlow while output to file descriptor 2 is discarded.

    Exceptions are raised as usual. The import does nothing if Keras is already imported.
    """
    if "keras" in sys.modules:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink, hide_packages(_NOT_FOR_KERAS):
        os.dup2(sink.fileno(), 2)
        try:
            importlib.import_module("keras")
            _keep_downloads_with_the_user()
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _keep_downloads_with_the_user() -> None:
    """Make `keras.utils.get_file` keep downloads in the folder that Keras uses without this project's settings.

    A user's network function may call `get_file`. Keras reads the folder from KERAS_HOME when it is imported, and keeps
    it in a private variable.
    """
    config = importlib.import_module("keras.src.backend.config")
    config._KERAS_DIR = os.environ.get(KERAS_CACHE) or os.path.expanduser("~/.keras")  # type: ignore[attr-defined]  # noqa: PTH111, SLF001


@contextmanager
def hide_packages(packages: Sequence[str]) -> Iterator[None]:
    """Hide packages from imports, as if they were not installed, except packages that are already imported."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None in sys.modules makes Python's import fail
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, reset Keras's layer numbers, and enable deterministic operations."""
    import keras
    import tensorflow as tf
    from keras.src.random import seed_generator

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    # Keras draws the layers' seeds from Python's global generator, which threads of Prefect and Dask use, too. Its
    # private module imports that generator under this name.
    seed_generator.python_random = random.Random(seed)  # noqa: S311  # not for cryptography
    tf.config.experimental.enable_op_determinism()


def seed_epoch(model: "keras.Model", seed: int, epoch: int) -> None:
    """Set the random state of a model's layers, such as dropout, from the seed and the epoch alone.

    Keras does not save this state, so a resumed training could not restore it otherwise. The name of the variables that
    hold the state is private.
    """
    states = [one for one in model.variables if one.path.endswith("seed_generator_state")]
    for number, state in enumerate(states):
        draws = np.random.default_rng((seed, epoch, number))
        state.assign(draws.integers(0, 2**31, state.shape).astype(state.dtype))


def reproducible_parts(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the parts of a model's file so that equal models have equal parts.

    The time of saving is replaced by a constant. Keras writes the address of each shared object as its id; addresses are
    replaced by running numbers.
    """
    metadata = json.loads(parts[_METADATA]) | {"date_saved": "1980-01-01@00:00:00"}
    numbers: dict[bytes, int] = {}
    config = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda found: b"%d" % numbers.setdefault(found[0], len(numbers)),
        parts[_CONFIG],
    )
    return {**parts, _METADATA: json.dumps(metadata).encode(), _CONFIG: config}


def threads() -> int:
    """Return the number of TensorFlow threads per operation in this process; 0 means one per core."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0"))
