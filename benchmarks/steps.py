"""Measure a single step inside its process, so that the interpreter's start and the imports do not count.

Usage: `python -m benchmarks.steps ARM DATASET MIRROR ROOT`, which prints the seconds.
"""

import gzip
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd  # noqa: F401  # otherwise pyarrow imports it during the measurement

from benchmarks.post import FILES, read_images, read_labels
from tasks.config.dataset import Dataset, load_dataset
from tasks.data.split_parquet import read_split
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ArchiveRecord, SplitRecord
from tasks.steps.decode import decode
from tasks.steps.download import download


def downloaded(dataset: Dataset, work: Workspace) -> dict[str, ArchiveRecord]:
    """Download the archives to the root."""
    return {archive.name: download.fn(archive, dataset.mirrors, work) for archive in dataset.archives()}


def to_parquet(dataset: Dataset, archives: dict[str, ArchiveRecord], work: Workspace) -> list[SplitRecord]:
    """Verify the archives and convert both splits to Parquet concurrently, as the flow does."""

    def one(name: str) -> SplitRecord:
        split = getattr(dataset, name)
        return decode.fn(dataset, name, archives[split.images.name], archives[split.labels.name], work)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, ("train", "test")))


def by_loops(mirror: Path) -> None:
    """Decode the archives to arrays with loops, as the post does."""
    for files in FILES.values():
        read_images(mirror / files.format("images", 3))
        read_labels(mirror / files.format("labels", 1))


def by_frombuffer(mirror: Path) -> None:
    """Decode the archives to arrays with `numpy.frombuffer`, without verifying them."""
    for files in FILES.values():
        np.frombuffer(gzip.open(mirror / files.format("images", 3)).read(), np.uint8, offset=16).reshape(-1, 28, 28)
        np.frombuffer(gzip.open(mirror / files.format("labels", 1)).read(), np.uint8, offset=8)


def by_hugging_face(paths: list[Path]) -> None:
    """Read the same Parquet files to arrays with `datasets`."""
    from datasets import load_dataset as load

    for path in paths:
        table = load("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "hugging-face"))
        arrow = table.with_format("arrow")[:]
        np.frombuffer(b"".join(arrow["image"].to_pylist()), np.uint8).reshape(-1, 28, 28)
        arrow["label"].to_numpy()


def main(arm: str, name: str, mirror: Path, root: Path) -> None:
    """Prepare the input of one arm, run the arm, and print its seconds."""
    work = Workspace(root=root, run="benchmark")
    dataset = load_dataset(name, [mirror.as_uri()])
    archives = downloaded(dataset, work)
    read = arm in {"arrays", "hugging_face"}
    paths = [root / record.file.path for record in to_parquet(dataset, archives, work)] if read else []
    arms: dict[str, Callable[[], object]] = {
        "parquet": lambda: to_parquet(dataset, archives, work),
        "loops": lambda: by_loops(mirror),
        "frombuffer": lambda: by_frombuffer(mirror),
        "arrays": lambda: [read_split([path]) for path in paths],
        "hugging_face": lambda: by_hugging_face(paths),
    }
    began = time.perf_counter()
    arms[arm]()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).absolute(), Path(sys.argv[4]))
