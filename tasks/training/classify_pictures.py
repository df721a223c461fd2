"""Classify a user's own pictures with the models of a run.

The result for each picture is the image as the network gets it, what was left out of the picture, and every model's
probabilities with a judgment of them, or the reason why the picture can't be read. Pictures are processed in batches,
so that memory does not grow with their number.
"""

import base64
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tasks.errors import UnknownFormatError
from tasks.filesystem.regular_files import read_regular
from tasks.images.decoding import unsupported_format
from tasks.images.digit_preprocessing import Character, read_character
from tasks.images.encoding import Images, encode_pixels
from tasks.images.strokes import EIGHT
from tasks.safety.plain_text import in_text
from tasks.schemas.doubt import Judgment
from tasks.schemas.records import ModelRecord
from tasks.schemas.results import MOST_SHOWN, ClassifiedPicture, ClassPrediction, LeftOut, UnreadablePicture
from tasks.schemas.runs import RunRecord
from tasks.storage.backend import Root
from tasks.storage.content_files import require_valid
from tasks.training.ensemble_model import with_features
from tasks.training.inference import BATCH, batch_predictor, load_model

Judge = Callable[[NDArray[np.float32], NDArray[np.float32]], list[Judgment]]  # of probabilities, and of features
Classifier = Callable[[Images], list[ClassPrediction]]

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
    paths: Sequence[Path | UnreadablePicture],
    run: RunRecord,
    root: Root,
    progress: Callable[[int], object],
    judges: Mapping[str, Judge],
) -> Iterator[ClassifiedPicture | UnreadablePicture]:
    """Yield every model's prediction for each picture, in order; entries for unreadable folders are yielded unchanged.

    The models are loaded once a picture has been read. `progress` is called with the number of pictures of each finished
    batch. `judges` holds the judge of the predictions of each model that has one.

    Raises:
        StorageError: If a model is missing or altered.
        DivergedError: If a model's output for a picture is not finite.
    """
    models: dict[str, Classifier] = {}
    for start in range(0, len(paths), BATCH):
        some = paths[start : start + BATCH]
        read = [
            path if isinstance(path, UnreadablePicture) else prepare_picture(path, run.train.shape) for path in some
        ]
        images = [one.image for one in read if isinstance(one, Character)]
        if images:
            models = models or {
                model.name: _classifier(model, run.train.classes, root, judges.get(model.name)) for model in run.models
            }
            stacked = np.stack(images)
            predictions = {name: iter(model(stacked)) for name, model in models.items()}
        for number, (path, one) in enumerate(zip(some, read, strict=True), start):
            if isinstance(one, UnreadablePicture):
                yield one
            elif isinstance(path, Path):
                guesses = {name: next(rows) for name, rows in predictions.items()}
                yield _classified(path, one, guesses, shown=number < MOST_SHOWN)
        progress(len(some))


def _classifier(model: ModelRecord, classes: Sequence[str], root: Root, judge: Judge | None) -> Classifier:
    """Load a model, and return a function that classifies images and judges the predictions."""
    network = load_model(require_valid(root, model.file))
    predict = batch_predictor(with_features(network) if judge else network)

    def classify(images: Images) -> list[ClassPrediction]:
        found = predict(images)
        units = found.shape[1] - len(classes)
        probabilities = found[:, units:]
        judgments = judge(probabilities, found[:, :units]) if judge else [None] * len(images)
        return [_prediction(row, classes, judgment) for row, judgment in zip(probabilities, judgments, strict=True)]

    return classify


def _classified(path: Path, one: Character, guesses: dict[str, ClassPrediction], *, shown: bool) -> ClassifiedPicture:
    """Return a classified picture, with what its preparation left out, and if a page shows it, with its preview."""
    mask = one.left_out
    left_out = LeftOut(share=float(mask.sum()) / max(1, one.whole), pieces=ndimage.label(mask, EIGHT)[1])
    if shown and left_out.pieces:
        large = Image.fromarray((255 * mask).astype(np.uint8))
        small = large.resize(one.original.size, Image.Resampling.BOX).point(lambda level: 255 * (level > 0))
        left_out = left_out.model_copy(update={"mask": _encode_file(small, "PNG")})
    return ClassifiedPicture(
        path=in_text(path),
        pixels=encode_pixels(one.image),
        original=_encode_file(one.original, "JPEG") if shown else "",
        left_out=left_out,
        guesses=guesses,
        doubts=one.doubts,
    )


def _encode_file(image: Image.Image, kind: str) -> str:
    """Return an image as a file of a format that Pillow writes, such as "PNG", in base64."""
    stream = io.BytesIO()
    image.save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


def prepare_picture(path: Path, shape: tuple[int, ...]) -> Character | UnreadablePicture:
    """Return a picture as the network gets it, or the reason why it can't be read."""
    try:
        return read_character(read_regular(path, _MAX_BYTES), shape)
    except UnknownFormatError as error:
        why = unsupported_format(path.suffix) if path.suffix.lower() in _UNREAD else str(error)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    return UnreadablePicture(path=in_text(path), why=why)


def _prediction(
    probabilities: NDArray[np.float32], classes: Sequence[str], judgment: Judgment | None
) -> ClassPrediction:
    best = int(probabilities.argmax())
    return ClassPrediction(
        label=classes[best],
        probability=float(probabilities[best]),
        probabilities=dict(zip(classes, map(float, probabilities), strict=True)),
        judgment=judgment,
    )
