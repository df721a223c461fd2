"""Create a dataset as unlike MNIST as possible: color, not square, 300 classes starting at label 7, plain and zip archives."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.written import write_idx

CLASSES, FIRST_LABEL = 300, 7
SHAPE = (24, 20, 3)
COUNTS = {"train": 900, "test": 30}

Arrays = tuple[NDArray[np.uint8], NDArray[np.int16]]


def arrays(split: str) -> Arrays:
    """Return images, (N, 24, 20, 3), with a square whose position and color encode the label, and labels from 0, (N,)."""
    rng = np.random.default_rng(len(split))
    labels = rng.permutation(np.arange(COUNTS[split]) % CLASSES).astype(np.int16)
    images = rng.integers(0, 30, (COUNTS[split], *SHAPE)).astype(np.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column, channel = np.unravel_index(label, (12, 10, 3))
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel] = 255
    return images, labels


def make(folder: Path) -> Path:
    """Write the archives, and a dataset file that pins none of them."""
    folder.mkdir(parents=True)
    lines = [
        'name = "odd"',
        'title = "Odd $ things"',
        'license = "none"',
        f"classes = {[f'thing {label}' for label in range(CLASSES - 1)] + ['物']}".replace("'", '"'),
        f"shape = {list(SHAPE)}",
        f"first_label = {FIRST_LABEL}",
        "transposed = true",
    ]
    for split, count in COUNTS.items():
        images, labels = arrays(split)
        columns = write_idx(images.swapaxes(1, 2))
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as files:
            files.writestr("inside/images.gz", gzip.compress(columns, 1))
        (folder / f"{split} labels.idx").write_bytes(write_idx(labels + FIRST_LABEL))
        lines += [
            f"[{split}]",
            f"count = {count}",
            f"[{split}.images]  # a comment that stays",
            f'urls = ["{split}.zip"]',
            'member = "inside/images.gz"',
            f"[{split}.labels]",
            f'name = "{split}-labels.idx"',
            f'urls = ["{split} labels.idx"]',
        ]
    path = folder / "odd.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
