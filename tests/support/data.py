"""Create tiny real datasets: archives of the first few hundred images of MNIST, and a dataset file."""

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.idx import read_blocks, read_header
from tests.support.written import write_idx

MIRROR = Path(__file__).parents[2] / "data" / "mirror" / "mnist"
NAMES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
COUNTS = {"train": 600, "test": 300}
FEW = {"train": 600, "test": 40}  # for complete runs: most errors of a hardly trained network are explained, one by one


def first(name: str, count: int) -> NDArray[np.uint8]:
    """Return the first `count` items of one of MNIST's archives, as an array that can be modified."""
    with gzip.open(MIRROR / name) as stream:
        return next(read_blocks(stream, read_header(stream), count)).copy()


@dataclass(frozen=True)
class Files:
    """A folder with four archives, and the content of their dataset file."""

    folder: Path
    counts: dict[str, int]
    classes: int | tuple[str, ...] = 10  # the number of classes, which are named by their numbers, or their names
    mirrors: tuple[str, ...] = ()
    shape: tuple[int, ...] = (28, 28)
    name: str = "tiny"

    def write(self, name: str, content: bytes) -> None:
        """Replace the bytes of an archive; the dataset file will pin the new ones."""
        (self.folder / name).write_bytes(content)

    def toml(self, **changes: object) -> Path:
        """Write the dataset file for the current archives."""
        self = replace(self, **changes)
        names = range(self.classes) if isinstance(self.classes, int) else self.classes
        lines = [
            f'name = "{self.name}"',
            'title = "Tiny"',
            'license = "as MNIST"',
            f"classes = {json.dumps([str(label) for label in names], ensure_ascii=False)}",
            f"shape = {list(self.shape)}",
            f"mirrors = {list(self.mirrors or (self.folder.as_uri(),))}".replace("'", '"'),
        ]
        for split, names in NAMES.items():
            lines += [f"[{split}]", f"count = {self.counts[split]}"]
            for kind, name in zip(("images", "labels"), names, strict=True):
                content = (self.folder / name).read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                lines += [f"[{split}.{kind}]", f'name = "{name}"', f"bytes = {len(content)}", f'sha256 = "{digest}"']
        path = self.folder / "tiny.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path


Labels = NDArray[np.uint8] | NDArray[np.int16]
Plant = Callable[[str, NDArray[np.uint8], NDArray[np.uint8]], None]


def make(folder: Path, counts: Mapping[str, int] = COUNTS, plant: Plant | None = None) -> Files:
    """Write tiny archives into a folder; `plant` can first modify the images and labels of a split in place."""
    splits: dict[str, tuple[NDArray[np.uint8], Labels]] = {}
    for split, (images, labels) in NAMES.items():
        splits[split] = first(images, counts[split]), first(labels, counts[split])
        if plant:
            plant(split, *splits[split])
    return of_arrays(folder, splits)


def of_arrays(
    folder: Path, splits: Mapping[str, tuple[NDArray[np.uint8], Labels]], classes: int | tuple[str, ...] = 10
) -> Files:
    """Write archives of the given images and labels, by split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in NAMES.items():
        for name, array in zip(names, splits[split], strict=True):
            (folder / name).write_bytes(gzip.compress(write_idx(array), 1, mtime=0))
    counts = {split: len(labels) for split, (_, labels) in splits.items()}
    return Files(folder, counts, classes, shape=splits["train"][0].shape[1:])
