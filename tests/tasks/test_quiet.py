"""Keras is imported by a process of its own: what it imports with it can't be told in one that has imported more."""

import subprocess
import sys

SAID = """
import sys
from tasks.quiet import NOT_FOR_KERAS, import_keras
import_keras()
print(*sorted({name.split(".")[0] for name in sys.modules} & {"keras", "tensorflow", *NOT_FOR_KERAS}))
import matplotlib.pyplot, pandas, sklearn.neighbors
"""


def test_keras_comes_without_what_no_step_needs_of_it_and_that_can_be_imported_later() -> None:
    done = subprocess.run([sys.executable, "-c", SAID], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["keras", "tensorflow"]
    assert done.stderr == ""


def test_what_is_imported_already_is_left_alone() -> None:
    said = "import pandas; from tasks.quiet import import_keras; import_keras(); import pandas.testing"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, check=True).stderr == b""
