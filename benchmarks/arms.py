"""Define the arms of the benchmarks.

Each arm runs the commands that a person would run, and returns their time and memory.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import import_seconds, run

PYTHON = sys.executable
MNIST = (PYTHON, "-m", "flows.cli.app")
MODELS = ("plain", "batch_norm")


class Sample(NamedTuple):
    """Measurement of an arm: seconds, peak memory of all its processes in bytes, and accuracies of its models."""

    seconds: float
    peak: int
    accuracies: tuple[float, ...] = ()


class Bench(NamedTuple):
    """Settings that all arms share; `epochs` holds the epochs of the same work and the epochs of the post."""

    folder: Path
    dataset: str
    mirror: Path
    epochs: tuple[int, int]
    env: Mapping[str, str]

    def post(self, place: Path, *steps: tuple[str, ...]) -> Sample:
        """Run steps of the post's program, with one process for each step."""
        commands: list[tuple[str | Path, ...]] = [
            (PYTHON, "-m", "benchmarks.post", step[0], self.mirror, place, *step[1:]) for step in steps
        ]
        taken = run(commands, self.env, place)
        accuracies = [line.split()[1] for line in taken.output.splitlines() if line.startswith("accuracy ")]
        return Sample(taken.seconds, taken.peak, tuple(map(float, accuracies)))

    def mnist(self, place: Path, root: str, *options: str) -> tuple[Sample, float]:
        """Run the pipeline; also return the seconds from its start until the last model was tested."""
        began = time.time()
        given = ("--dataset", self.dataset, "--mirror", self.mirror.as_uri(), "--root", place / root)
        taken = run([(*MNIST, "run", "--json", "--no-gate", *given, *options)], self.env, place)
        found = json.loads(taken.output)
        tested = [step["origin"]["at"] for step in found["steps"] if step["name"].startswith("evaluate ")
                  and step["name"].endswith(" on test")]  # fmt: skip
        accuracies = tuple(model["accuracy"] for model in found["models"].values())
        last = max(datetime.fromisoformat(at).timestamp() for at in tested) - began
        return Sample(taken.seconds, taken.peak, accuracies), last

    def inside(self, place: Path, arm: str) -> Sample:
        """Run a single step that measures its time inside its process."""
        root = place / arm
        taken = run([(PYTHON, "-m", "benchmarks.steps", arm, self.dataset, self.mirror, root)], self.env, place)
        shutil.rmtree(root, ignore_errors=True)
        return Sample(float(taken.output), taken.peak)

    def command(self, place: Path, *words: str, code: int = 0) -> Sample:
        """Run any other Python command, which exits with `code`."""
        taken = run([(PYTHON, *words)], self.env, place, code=code)
        return Sample(taken.seconds, taken.peak)

    def imports(self, place: Path, *words: str) -> Sample:
        """Run a Python command, and return the time that it spends in imports."""
        taken = run([(PYTHON, "-X", "importtime", *words)], self.env, place)
        return Sample(import_seconds(taken.errors), taken.peak)


def post_same_work(bench: Bench, place: Path) -> Sample:
    """Train, test and analyze both models with the post's program."""
    epochs = str(bench.epochs[0])
    steps = [step for model in MODELS for step in (("train", model, epochs), ("evaluate", model), ("analyze", model))]
    return bench.post(place, *steps)


def post_best(bench: Bench, place: Path) -> Sample:
    """Train and test the post's best model, the network with batch normalization, for all its epochs."""
    return bench.post(place, ("train", "batch_norm", str(bench.epochs[1])), ("evaluate", "batch_norm"))


def cold(bench: Bench, place: Path) -> Sample:
    """Run the pipeline with an empty root, from the archives to the report."""
    return bench.mnist(place, "same", "--epochs", str(bench.epochs[0]))[0]


def again(bench: Bench, place: Path) -> Sample:
    """Run the pipeline again with the same root."""
    return cold(bench, place)


def onecycle(bench: Bench, place: Path) -> Sample:
    """Run the pipeline with an empty root; the result has the seconds until both models were tested."""
    sample, tested = bench.mnist(place, "onecycle", "--recipe", "onecycle")
    return sample._replace(seconds=tested)


ARMS: dict[str, Callable[[Bench, Path], Sample]] = {
    "post, same work": post_same_work,
    "mnist run": cold,
    "mnist run again": again,
    "post, 10 epochs of batch norm": post_best,
    "mnist run --recipe onecycle": onecycle,
    "archives by loops": lambda bench, place: bench.inside(place, "loops"),
    "archives by frombuffer": lambda bench, place: bench.inside(place, "frombuffer"),
    "archives to Parquet": lambda bench, place: bench.inside(place, "parquet"),
    "Parquet to arrays": lambda bench, place: bench.inside(place, "arrays"),
    "steps that do nothing": lambda bench, place: bench.command(place, "-m", "benchmarks.nothing"),
    "… without TensorFlow": lambda bench, place: bench.command(place, "-m", "benchmarks.nothing", "without-tensorflow"),
    "python -c pass": lambda bench, place: bench.command(place, "-c", "pass"),
    "mnist --help": lambda bench, place: bench.command(place, *MNIST[1:], "--help"),
    "mnist runs": lambda bench, place: bench.command(place, *MNIST[1:], "runs"),
    "mnist runs, imports": lambda bench, place: bench.imports(place, *MNIST[1:], "runs"),
    "mnist dataset list": lambda bench, place: bench.command(place, *MNIST[1:], "dataset", "list"),
    "mnist champion": lambda bench, place: bench.command(place, *MNIST[1:], "champion"),
    "mnist run --recipe nope": lambda bench, place: bench.command(place, *MNIST[1:], "run", "--recipe", "nope", code=2),
}
if find_spec("datasets"):
    ARMS["Parquet by Hugging Face"] = lambda bench, place: bench.inside(place, "hugging_face")
