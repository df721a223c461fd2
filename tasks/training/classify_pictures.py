"""Classify a user's own pictures with the models of a run.

The result for each picture is the image as the network gets it and every model's probabilities, or the reason why the
picture can't be read. Pictures are processed in batches, so that memory does not grow with their number.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tasks.errors import UnknownFormatError
from tasks.filesystem.regular_files import read_regular
from tasks.images.decoding import unsupported_format
from tasks.images.digit_preprocessing import Character, read_character
from tasks.images.encoding import encode_pixels
from tasks.safety.plain_text import in_text
from tasks.schemas.results import ClassifiedPicture, ClassPrediction, UnreadablePicture
from tasks.schemas.runs import RunRecord
from tasks.storage.backend import Root
from tasks.storage.content_files import require_valid
from tasks.training.inference import BATCH, batch_predictor, load_model

_MAX_BYTES = 256 << 20  # of a picture's file: the maximum number of pixels, uncompressed at 32 bits each
_SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".webp",
    ".pbm", ".pgm", ".ppm", ".pnm",
})  # fmt: skip
# Unsupported formats. Such files are reported rather than skipped, because the user expects a result for them.
_UNREAD = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".psd", ".xcf", ".tga", ".pcx",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
})  # fmt: skip
_HOUSEKEEPING = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})  # folders of macOS, Synology and Windows


def pictures_in(
    paths: Sequence[Path], on_skip: Callable[[Path], object] = lambda _: None
) -> list[Path | UnreadablePicture]:
    """Return the picture files among `paths` and in the folders among them.

    A path that is not a folder is returned as it is. From a folder and its subfolders, only files with the suffix of a
    picture format are returned. Links to folders inside a folder are not followed, because they may form a cycle. A
    folder that can't be read is returned as an UnreadablePicture.

    Args:
        paths: Files and folders.
        on_skip: Function that is called for each path inside a folder that is skipped: files with another suffix,
            hidden files and folders, and folders that an operating system maintains.
    """
    found: list[Path | UnreadablePicture] = []
    for path in paths:
        found.extend(_inside(path, on_skip) if path.is_dir() else [path])
    return found


def _inside(folder: Path, on_skip: Callable[[Path], object]) -> Iterator[Path | UnreadablePicture]:
    """Yield the pictures in a folder and its subfolders, in order, and then the folders that can't be read."""
    faults: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=faults.append):
        for name in sorted(folders):
            if name.startswith(".") or name in _HOUSEKEEPING:
                folders.remove(name)
                on_skip(Path(parent, name))
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in _SUFFIXES | _UNREAD:
                yield path
            else:
                on_skip(path)
    for fault in faults:
        yield UnreadablePicture(path=in_text(fault.filename), why=fault.strerror or str(fault))


def classify_pictures(
    paths: Sequence[Path | UnreadablePicture], run: RunRecord, root: Root, progress: Callable[[int], object]
) -> Iterator[ClassifiedPicture | UnreadablePicture]:
    """Yield every model's prediction for each picture, in order; entries for unreadable folders are yielded unchanged.

    `progress` is called with the number of pictures of each finished batch.

    Raises:
        StorageError: If a model is missing or altered.
        DivergedError: If a model's output for a picture is not finite.
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
            predictions = {name: iter(model(stacked)) for name, model in models.items()}
        for path, one in zip(some, read, strict=True):
            if isinstance(one, UnreadablePicture):
                yield one
            elif isinstance(path, Path):
                guesses = {name: _classify(next(rows), run.train.classes) for name, rows in predictions.items()}
                yield ClassifiedPicture(
                    path=in_text(path), pixels=encode_pixels(one.image), guesses=guesses, doubts=one.doubts
                )
        progress(len(some))


def prepare_picture(path: Path, shape: tuple[int, ...]) -> Character | UnreadablePicture:
    """Return a picture as the network gets it, or the reason why it can't be read."""
    try:
        return read_character(read_regular(path, _MAX_BYTES), shape)
    except UnknownFormatError as error:
        why = unsupported_format(path.suffix) if path.suffix.lower() in _UNREAD else str(error)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    return UnreadablePicture(path=in_text(path), why=why)


def _classify(probabilities: np.ndarray, classes: Sequence[str]) -> ClassPrediction:
    best = int(probabilities.argmax())
    return ClassPrediction(
        label=classes[best],
        probability=float(probabilities[best]),
        probabilities=dict(zip(classes, map(float, probabilities), strict=True)),
    )
