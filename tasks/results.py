"""Results: what a run leaves, as `mnist run` shows it and `--json` prints it. Paths are relative to the root."""

from tasks.analysis import Decision
from tasks.findings import Comparison
from tasks.records import Frozen


class ModelResult(Frozen):
    """One model of a run."""

    accuracy: float
    errors: int
    loss: float
    parameters: int
    epochs: int
    fit_seconds: float
    model: str
    model_sha256: str
    predictions: str


class RunResult(Frozen):
    """A whole run: `cached` names the steps that an earlier run had made, `promoted` whether its best model is the champion."""

    run: str
    root: str
    seconds: float
    dataset: str
    models: dict[str, ModelResult]
    verdict: str
    comparisons: tuple[Comparison, ...]
    decision: Decision
    promoted: bool
    report: dict[str, str]
    cached: tuple[str, ...]
