"""Test the import of Keras in separate processes, because this process has already imported other libraries."""

import subprocess
import sys
from pathlib import Path

SAID = """
import sys
from tasks.training.keras_runtime import _NOT_FOR_KERAS, import_keras
import_keras()
print(*sorted({name.split(".")[0] for name in sys.modules} & {"keras", "tensorflow", *_NOT_FOR_KERAS}))
import matplotlib.pyplot, pandas, sklearn.neighbors
"""


def test_keras_comes_without_what_no_step_needs_of_it_and_that_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", SAID], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["keras", "tensorflow"]
    assert done.stderr == ""


def test_what_is_imported_already_is_left_alone() -> None:
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


def test_what_goes_after_a_write_that_failed_says_nothing_more(tmp_path: Path) -> None:
    """The end of the process is not checked, because HDF5 itself ends it."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "full.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "__dealloc__" not in done.stderr


def test_other_errors_are_said() -> None:
    said = (
        "from tasks.training.keras_runtime import without_hdf5_echo; without_hdf5_echo(); raise ValueError('another')"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("ValueError: another\n")
