"""Run one step on an enlarged dataset: `python -m benchmarks.grown STEP DATASET ROOT` prints a Grown as JSON."""

import json
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tasks.config.dataset import Dataset, load_dataset
from tasks.data import batching
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ModelRecord, SplitRecord


class Grown(NamedTuple):
    """Time and memory of a step; `peak` is the largest resident set of its process in bytes."""

    step: str
    images: int
    seconds: float
    peak: int


def decoded(dataset: Dataset, work: Workspace) -> SplitRecord:
    """Download and decode the training split."""
    from tasks.steps.decode import decode
    from tasks.steps.download import download

    images, labels = (download.fn(one, dataset.mirrors, work) for one in (dataset.train.images, dataset.train.labels))
    return decode.fn(dataset, "train", images, labels, work)


def untrained(split: SplitRecord, work: Workspace) -> ModelRecord:
    """Save the untrained network with batch normalization; its predictions take as long as a trained network's."""
    from tasks.config.recipe import load_recipe
    from tasks.storage.content_files import move_into_store
    from tasks.training.keras_runtime import threads
    from tasks.training.network import build, save

    training = load_recipe("post").trainings()[1]
    model = build(training.network, split.shape, len(split.classes))
    with work.scratch() as scratch:
        save(model, scratch / "untrained.keras")
        file = move_into_store(work.root, "models", "untrained", ".keras", scratch / "untrained.keras")
    return ModelRecord(
        name="untrained",
        file=file,
        parameters=model.count_params(),
        trained_on=0,
        held_out=0,
        batch=training.batch,
        seed=training.seed,
        threads=threads(),
        history=(),
        fit_seconds=0,
    )


def main(step: str, path: str, root: Path) -> Grown:
    """Run one step and return its measurements; every other step needs an earlier run of "decode"."""
    work = Workspace(root=root, run="growth")
    kept = root / "split.json"
    began = time.perf_counter()
    if step == "decode":
        split = decoded(load_dataset(path), work)
        kept.write_text(split.model_dump_json())
        return Grown(step, split.count, time.perf_counter() - began, peak())
    split = SplitRecord.model_validate_json(kept.read_bytes())
    if step == "predict":
        from tasks.steps.evaluate import evaluate

        model = untrained(split, work)
        began = time.perf_counter()
        evaluate.fn(model, split, work)
        return Grown(step, split.count, time.perf_counter() - began, peak())
    from tasks.config.recipe import load_recipe
    from tasks.steps.train import train

    in_memory = step == "train-in-memory"
    if in_memory:
        batching.WINDOW_BYTES = 1 << 40
    changes = {"epochs": 1, "seed": 2 if in_memory else 1}  # another seed, so that the first training is not reused
    training = load_recipe("post").trainings()[1].model_copy(update=changes)
    return Grown(step, split.count, train.fn(training, split, work).fit_seconds, peak())


def peak() -> int:
    """Return the largest resident set of this process so far, in bytes; `getrusage` would include its parent's."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found  # noqa: S101  # Linux reports it
    return int(found[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
