"""Predict: what the models of a run say of a person's own pictures.

In: paths of pictures and folders, and a run. Out: for each picture what the network was shown and every model's probabilities;
or why it could not be read. In batches, so that memory stays flat in the number of pictures.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.errors import PictureError
from tasks.filesystem.regular_files import read_regular
from tasks.images.decoding import NO_PICTURE
from tasks.images.digit_preprocessing import Character, read_character
from tasks.images.encoding import encode_pixels
from tasks.safety.plain_text import in_text
from tasks.schemas.results import ClassifiedPicture, ClassPrediction, UnreadablePicture
from tasks.schemas.runs import RunRecord
from tasks.storage.backend import Root
from tasks.storage.content_files import require_valid
from tasks.training.inference import BATCH, batch_predictor, load_model

_MOST_BYTES = 256 << 20  # of a picture's file: the most pixels that are taken, in 32 bits each and not compressed
_SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".pbm", ".pgm", ".ppm", ".pnm",
})  # fmt: skip
# Pictures that are not read. They are named, since whoever has put them into the folder expects an answer.
_UNREAD = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".psd", ".xcf", ".tga", ".pcx",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
})  # fmt: skip
_HOUSEKEEPING = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})  # folders of macOS, Synology and Windows


def pictures_in(
    paths: Sequence[Path], passed_over: Callable[[Path], object] = lambda _: None
) -> list[Path | UnreadablePicture]:
    """Every picture that is meant: files as they are, and what folders hold that is called like a picture.

    Links to folders are not followed inside a folder: they may lead in a circle. Folders that can't be read are named. What is
    called otherwise, what is hidden, and what a system keeps for itself is `passed_over`.
    """
    found: list[Path | UnreadablePicture] = []
    for path in paths:
        found.extend(_inside(path, passed_over) if path.is_dir() else [path])
    return found


def _inside(folder: Path, passed_over: Callable[[Path], object]) -> Iterator[Path | UnreadablePicture]:
    """The pictures in a folder and those below it, in order."""
    faults: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=faults.append):
        for name in sorted(folders):
            if name.startswith(".") or name in _HOUSEKEEPING:
                folders.remove(name)
                passed_over(Path(parent, name))
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in _SUFFIXES | _UNREAD:
                yield path
            else:
                passed_over(path)
    for fault in faults:
        yield UnreadablePicture(path=in_text(fault.filename), why=fault.strerror or str(fault))


def classify_pictures(
    paths: Sequence[Path | UnreadablePicture], run: RunRecord, root: Root, progress: Callable[[int], object]
) -> Iterator[ClassifiedPicture | UnreadablePicture]:
    """What the run's models say of each picture, in order; `progress` is told of how many more are done.

    Raises:
        StorageError: a model is gone or altered.
    """
    models = {model.name: batch_predictor(load_model(require_valid(root, model.file))) for model in run.models}
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        read = [
            path if isinstance(path, UnreadablePicture) else prepare_picture(path, run.train.shape) for path in some
        ]
        images = [one.image for one in read if isinstance(one, Character)]
        if images:
            stacked = np.stack(images)
            said = {name: iter(model(stacked)) for name, model in models.items()}
        for path, one in zip(some, read, strict=True):
            if isinstance(one, UnreadablePicture):
                yield one
            elif isinstance(path, Path):
                guesses = {name: _classify(next(rows), run.train.classes) for name, rows in said.items()}
                yield ClassifiedPicture(
                    path=in_text(path), pixels=encode_pixels(one.image), guesses=guesses, doubts=one.doubts
                )
        progress(len(some))


def prepare_picture(path: Path, shape: tuple[int, ...]) -> Character | UnreadablePicture:
    """A picture as the network is shown it, or why it can't be."""
    try:
        return read_character(read_regular(path, _MOST_BYTES), shape)
    except PictureError as error:
        why = str(error)
        if why == NO_PICTURE and path.suffix.lower() in _UNREAD:
            why = f"pictures of the kind {path.suffix} are not read: export it as PNG or JPEG"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    return UnreadablePicture(path=in_text(path), why=why)


def _classify(probabilities: np.ndarray, classes: Sequence[str]) -> ClassPrediction:
    """One model's answer."""
    best = int(probabilities.argmax())
    return ClassPrediction(
        label=classes[best],
        probability=float(probabilities[best]),
        probabilities=dict(zip(classes, map(float, probabilities), strict=True)),
    )
