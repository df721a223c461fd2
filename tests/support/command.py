"""Run the `mnist` command in the tests' own process, which has imported everything that the command needs.

A complete run in a process of its own takes 25 s of processor time, most of it for imports. Tests of processes, signals,
streams and servers start real processes instead (`tests/integration/flow/test_cli.py`).
"""

import io
import json
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL

from flows.cli.outcome import run_outcome
from tests.support.threads import in_threads


class Mnist:
    """The command; its runs use the server of the session, and a thread of this process as their worker."""

    def __call__(self, *arguments: str | Path) -> CompletedProcess[str]:
        """Run the command, and return its outcome as `subprocess.run` does."""
        words = [str(argument) for argument in arguments]
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            warnings.simplefilter("ignore", DeprecationWarning)  # of TensorFlow and Keras
            patch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # as in a worker process
            patch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
            for flow in ("mnist", "study"):
                patch.setattr(f"flows.{flow}.open_workers", in_threads)
            code, faults = run_outcome(words)
        said = err.getvalue() + "".join(f"mnist: {fault}\n" for fault in faults.splitlines())
        return CompletedProcess(words, code, out.getvalue(), said)

    def result(self, *arguments: str | Path) -> dict[str, Any]:
        """Return the document that a successful command prints with `--json`."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
