"""Test the import of Keras, and check the installed version for everything private that the module relies on.

The import is tested in separate processes, because this process has already imported other libraries.
"""

import importlib
import inspect
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.safety.environment import KERAS_CACHE
from tasks.training.keras_runtime import (
    MODEL_PARTS,
    _keep_downloads_with_the_user,
    reproducible_parts,
    seed_epoch,
    seed_everything,
)

SAID = """
import sys
from tasks.training.keras_runtime import _NOT_FOR_KERAS, import_keras
import_keras()
print(*sorted({name.split(".")[0] for name in sys.modules} & {"keras", "tensorflow", *_NOT_FOR_KERAS}))
import matplotlib.pyplot, pandas, sklearn.neighbors
"""


def test_keras_is_imported_without_unused_libraries_which_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", SAID], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["keras", "tensorflow"]
    assert done.stderr == ""


def test_libraries_that_are_already_imported_are_left_alone() -> None:
    said = "import pandas; from tasks.training.keras_runtime import import_keras; import_keras(); import pandas.testing"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, check=True).stderr == b""


FULL = """
import resource, signal, sys
import h5py, numpy
from tasks.training.keras_runtime import without_hdf5_echo
without_hdf5_echo()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with h5py.File(sys.argv[1], "w") as file:
    file["zeros"] = numpy.zeros(2000)
"""


def test_h5py_objects_deleted_after_a_failed_write_report_nothing(tmp_path: Path) -> None:
    """The end of the process is not checked, because HDF5 itself ends it."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "full.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "__dealloc__" not in done.stderr


def test_other_errors_are_still_printed() -> None:
    said = (
        "from tasks.training.keras_runtime import without_hdf5_echo; without_hdf5_echo(); raise ValueError('another')"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("ValueError: another\n")


@pytest.fixture
def keras(one_thread: None) -> Any:
    return importlib.import_module("keras")


def network(keras: Any) -> Any:
    """A model with a layer that draws numbers, and with two objects that Keras gives an id."""
    layers = [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse")
    return model


def states(model: Any) -> list[list[int]]:
    return [layer.seed_generator.state.numpy().tolist() for layer in model.layers if hasattr(layer, "seed_generator")]


def test_the_seeds_of_layers_do_not_depend_on_pythons_global_generator(keras: Any) -> None:
    found = []
    for other in (1, 2):
        seed_everything(7)
        random.seed(other)  # as a thread of Prefect might draw
        found.append(states(network(keras)))
    assert found[0] == found[1]
    seed_everything(8)
    assert states(network(keras)) != found[0]


def test_the_state_of_all_layers_is_set_for_an_epoch(keras: Any) -> None:
    model = network(keras)
    assert len(states(model)) == 2
    seed_epoch(model, 7, 3)
    assert states(model) == [
        np.random.default_rng((7, 3, number)).integers(0, 2**31, (2,)).tolist() for number in (0, 1)
    ]


def test_downloads_go_where_the_private_variable_says(
    keras: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = importlib.import_module("keras.src.backend.config")
    monkeypatch.setattr(config, "_KERAS_DIR", "")
    monkeypatch.delenv(KERAS_CACHE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    _keep_downloads_with_the_user()
    assert config.keras_home() == str(tmp_path / ".keras")
    assert "config.keras_home()" in inspect.getsource(inspect.unwrap(keras.utils.get_file))


def test_a_saved_model_has_the_parts_the_time_and_the_addresses_that_are_expected(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    network(keras).save(path)
    with zipfile.ZipFile(path) as saved:
        parts = {name: saved.read(name) for name in saved.namelist()}
    assert parts.keys() == MODEL_PARTS
    assert "date_saved" in json.loads(parts["metadata.json"])
    ids = list(_ids_in(json.loads(parts["config.json"])))
    assert ids
    made = reproducible_parts(parts)
    assert json.loads(made["metadata.json"])["date_saved"] == "1980-01-01@00:00:00"
    order = list(dict.fromkeys(ids))
    assert list(_ids_in(json.loads(made["config.json"]))) == [order.index(one) for one in ids]
    assert made["model.weights.h5"] == parts["model.weights.h5"]


def _ids_in(value: Any) -> list[int]:
    """The ids of shared objects in a configuration, in order."""
    if isinstance(value, list):
        return [one for item in value for one in _ids_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["shared_object_id"]] if "shared_object_id" in value else []
    return own + [one for item in value.values() for one in _ids_in(item)]
