"""Define the figures of the benchmarks.

A figure is the time of one arm relative to another, as the median and the range over the rounds.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.arms import ARMS, Sample

MIB = 2**20


class Figure(NamedTuple):
    """Time of the arm `ours` relative to the arm `base`; `limit` is the largest acceptable ratio."""

    says: str
    ours: str
    base: str
    limit: float | None = None

    @property
    def arms(self) -> tuple[str, str]:
        """Names of the arms that the figure needs."""
        return self.ours, self.base


class Ratio(NamedTuple):
    """Ratio of two arms over the rounds."""

    median: float
    least: float
    greatest: float
    limit: float | None


FIGURES = {
    "same": Figure("same work, 3 epochs, cold", "mnist run", "post, same work", 0.55),
    "accuracy": Figure("time to 98.94 %", "mnist run --recipe onecycle", "post, 10 epochs of batch norm", 0.30),
    "parquet": Figure("archives to verified Parquet", "archives to Parquet", "archives by loops", 0.15),
    "parquet-numpy": Figure("… against numpy, unverified", "archives to Parquet", "archives by frombuffer"),
    "arrays": Figure("Parquet to arrays", "Parquet to arrays", "archives by loops"),
    "arrays-numpy": Figure("… against numpy, from archives", "Parquet to arrays", "archives by frombuffer"),
    "arrays-hugging-face": Figure("… against Hugging Face", "Parquet to arrays", "Parquet by Hugging Face"),
    "again": Figure("second run against the first", "mnist run again", "mnist run", 0.10),
    "orchestration": Figure("orchestration and start-up alone", "… without TensorFlow", "mnist run", 0.12),
    "orchestration-tensorflow": Figure("… with TensorFlow's import", "steps that do nothing", "mnist run"),
    "help": Figure("mnist --help", "mnist --help", "python -c pass"),
    "runs": Figure("mnist runs", "mnist runs", "python -c pass"),
    "runs-imports": Figure("… of which imports", "mnist runs, imports", "mnist runs"),
    "dataset-list": Figure("mnist dataset list", "mnist dataset list", "python -c pass"),
    "champion": Figure("mnist champion", "mnist champion", "python -c pass"),
    "wrong-input": Figure("wrong input", "mnist run --recipe nope", "python -c pass"),
}
if "Parquet by Hugging Face" not in ARMS:
    del FIGURES["arrays-hugging-face"]


def value(figure: Figure, samples: Mapping[str, Sequence[Sample]]) -> Ratio:
    """Return the ratio of a figure.

    The arms are compared within each round, in which both ran under the same load.
    """
    rounds = zip(samples[figure.ours], samples[figure.base], strict=True)
    ratios = [ours.seconds / base.seconds for ours, base in rounds]
    return Ratio(median(ratios), min(ratios), max(ratios), figure.limit)


def table(figures: Mapping[str, Figure], samples: Mapping[str, Sequence[Sample]], machine: Mapping[str, object]) -> str:
    """Return all figures and arms as Markdown tables."""
    lines = [
        ", ".join(f"{name} {found}" for name, found in machine.items()),
        "",
        "| figure | ratio | least to greatest | at most |",
        "|---|---:|---:|---:|",
    ]
    for figure in figures.values():
        ratio = value(figure, samples)
        limit = "" if ratio.limit is None else f"{ratio.limit:.2f}"
        lines.append(f"| {figure.says} | {ratio.median:.3g} | {ratio.least:.3g} to {ratio.greatest:.3g} | {limit} |")
    lines += ["", "| arm | seconds | least to greatest | peak MiB | accuracies % |", "|---|---:|---:|---:|---|"]
    for name, found in samples.items():
        seconds = [sample.seconds for sample in found]
        reached = ", ".join(f"{100 * one:.2f}" for one in found[-1].accuracies)
        peak = median(sample.peak for sample in found) / MIB
        spread = f"{min(seconds):.3g} to {max(seconds):.3g}"
        lines.append(f"| {name} | {median(seconds):.3g} | {spread} | {peak:,.0f} | {reached} |")
    return "\n".join(lines)
