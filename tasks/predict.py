"""Predict: what the models of a run say of a person's own pictures.

In: paths of pictures and folders, and a run. Out: for each picture what the network was shown and every model's probabilities;
or why it could not be read. In batches, so that memory stays flat in the number of pictures.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.errors import PictureError
from tasks.evaluate import BATCH, load_model, predicting
from tasks.files import verified
from tasks.gallery import encoded
from tasks.picture import prepare
from tasks.results import Guess, Shown, Unreadable
from tasks.runs import RunRecord
from tasks.store import Root

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pbm", ".pgm", ".ppm"})


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """Every picture that is meant: files as they are, and what folders hold that is called like a picture."""
    found: list[Path] = []
    for path in paths:
        inside = (one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES and one.is_file())
        found.extend(inside if path.is_dir() else [path])
    return found


def predict(
    paths: Sequence[Path], run: RunRecord, root: Root, progress: Callable[[int], object]
) -> Iterator[Shown | Unreadable]:
    """What the run's models say of each picture, in order; `progress` is told of how many more are done.

    Raises:
        StorageError: a model is gone or altered.
    """
    models = {model.name: predicting(load_model(verified(root, model.file))) for model in run.models}
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        read = [prepared(path, run.train.shape) for path in some]
        images = [image for image in read if isinstance(image, np.ndarray)]
        if images:
            stacked = np.stack(images)
            said = {name: iter(model(stacked)) for name, model in models.items()}
        for path, image in zip(some, read, strict=True):
            if isinstance(image, str):
                yield Unreadable(path=str(path), why=image)
            else:
                guesses = {name: guess(next(rows), run.train.classes) for name, rows in said.items()}
                yield Shown(path=str(path), pixels=encoded(image), guesses=guesses)
        progress(len(some))


def prepared(path: Path, shape: tuple[int, ...]) -> np.ndarray | str:
    """A picture as the network is shown it, or why it can't be."""
    try:
        return prepare(path.read_bytes(), shape)
    except PictureError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def guess(probabilities: np.ndarray, classes: Sequence[str]) -> Guess:
    """One model's answer."""
    best = int(probabilities.argmax())
    return Guess(
        label=classes[best],
        probability=float(probabilities[best]),
        probabilities=dict(zip(classes, map(float, probabilities), strict=True)),
    )
