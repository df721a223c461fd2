"""Compare two runs over the test images that they share, matched by content: new errors and fixed errors."""
# ruff: noqa: PLC0415  # the statistics libraries take seconds to import

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.analysis.image_cards import max_images_shown, model_answer
from tasks.data.predictions_parquet import Predictions, read_predictions
from tasks.data.split_content import with_labels_digest
from tasks.data.split_parquet import read_images
from tasks.engine.workspace import Workspace
from tasks.errors import RunError, StorageError
from tasks.images.encoding import encode_pixels
from tasks.schemas.analysis import Changed, Changes, Check, ModelChanges, Setting
from tasks.schemas.findings import Comparison, Estimate
from tasks.schemas.records import PredictionsRecord, SplitRecord
from tasks.schemas.runs import RunRecord
from tasks.storage.content_files import require_all_valid, require_valid
from tasks.storage.storage import storage_of

PredictionsPair = tuple[PredictionsRecord, PredictionsRecord]


def model_pairs(before: RunRecord, now: RunRecord) -> list[PredictionsPair]:
    """Return the predictions of the models that have the same name in both runs.

    Raises:
        RunError: If there is no such model.
    """
    shared = [model.name for model in now.models if model.name in {other.name for other in before.models}]
    if not shared:
        raise RunError(f"runs {before.run} and {now.run} have no model name in common; give RUN:MODEL for each")
    return [(before.of(name), now.of(name)) for name in shared]


def is_repeated_later(before: RunRecord, now: RunRecord) -> bool:
    """Return whether a finished run repeats another one later: the same dataset, champion line, and trainings.

    Runs with another seed, another number of epochs or another setting of the training are different trainings.
    """
    one, other = ((run.dataset, run.line, _training_settings(run)) for run in (before, now))
    return one == other and (before.number, before.began) < (now.number, now.began)


def changes_between(
    before: RunRecord, now: RunRecord, pairs: Sequence[PredictionsPair], work: Workspace, *, over_time: bool = True
) -> Changes:
    """Return the changes between two runs, for some pairs of their models.

    `over_time` tells whether the second run repeats the first one later. Otherwise, the comparison names the models
    instead of calling them "before" and "now".

    Raises:
        RunError: If the runs have different classes or image shapes, or no common image.
        StorageError: If a file is missing or altered.
    """
    _require_same_classes_and_shape(before, now)
    paths = require_all_valid(work.root, now.test.parts)
    old, new = common_images(*(read_required_predictions(one, work) for one in pairs[0]))
    return Changes(
        before=before.run,
        now=now.run,
        over_time=over_time,
        classes=now.test.classes,
        shape=now.test.shape,
        images=len(new),
        only_before=pairs[0][0].count - len(old),
        only_now=pairs[0][1].count - len(new),
        settings=tuple(_settings_between(before, now, work)),
        models=tuple(
            _model_changes(
                pair,
                _suffixes(before, now, over_time=over_time),
                read_required_predictions(pair[0], work).take(old),
                read_required_predictions(pair[1], work).take(new),
                new,
                paths,
                max_images_shown(now.test.shape),
            ).model_copy(update={"one_seed": before.has_one_seed(pair[0].model) and now.has_one_seed(pair[1].model)})
            for pair in pairs
        ),
    )


def _suffixes(before: RunRecord, now: RunRecord, *, over_time: bool) -> tuple[str, str]:
    """Return what follows the names of the models of two runs, to tell the models apart."""
    if over_time:
        return "before", "now"
    return ("", "") if before.run == now.run else (f"of {before.run}", f"of {now.run}")


def _require_same_classes_and_shape(before: RunRecord, now: RunRecord) -> None:
    """Require that two runs have images of the same shape and the same class names.

    Raises:
        RunError: If they do not. The message names the difference.
    """
    runs = f"runs {before.run} and {now.run} can't be compared"
    shapes = ["x".join(map(str, run.test.shape)) for run in (before, now)]
    if shapes[0] != shapes[1]:
        raise RunError(f"{runs}: their images have different shapes ({shapes[0]} and {shapes[1]})")
    one, other = before.test.classes, now.test.classes
    if len(one) != len(other):
        raise RunError(f"{runs}: they have different numbers of classes ({len(one)} and {len(other)})")
    for label, (old, new) in enumerate(zip(one, other, strict=True)):
        if old != new:
            raise RunError(f"{runs}: they have different class names (label {label} is {old!r} and {new!r})")


def require_predictions(record: PredictionsRecord, work: Workspace) -> Path:
    """Return the local path of the predictions of an earlier run, which no other run can compute again.

    Raises:
        StorageError: If the file is missing or altered.
    """
    storage = storage_of(work.root)
    if fault := storage.verify(record.file):
        raise StorageError(fault)
    return storage.cache_dir / record.file.path


def read_required_predictions(record: PredictionsRecord, work: Workspace) -> Predictions:
    """Read the predictions that a record names.

    Raises:
        StorageError: If the file is missing or altered.
    """
    return read_predictions(require_valid(work.root, record.file))


def compare_paired(one: Predictions, other: Predictions, names: tuple[str, str]) -> Comparison:
    """Return the paired comparison over the images that both models have predicted.

    Raises:
        RunError: If there is no such image.
    """
    from tasks.analysis.statistics import compare_predictions

    old, new = common_images(one, other)
    return compare_predictions(names[0], one.take(old), names[1], other.take(new))


def common_images(one: Predictions, other: Predictions) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions in both predictions of the images that have the same content and the same label.

    Duplicates are matched in order of position.

    Returns:
        Two (n,) arrays: positions in `one` and the matching positions in `other`.

    Raises:
        RunError: If there is no such image.
    """
    if np.array_equal(one.sha256, other.sha256) and np.array_equal(one.labels, other.labels):
        return np.arange(len(one.labels)), np.arange(len(one.labels))
    places: defaultdict[tuple[bytes, int], list[int]] = defaultdict(list)
    for place in reversed(range(len(one.labels))):
        places[one.sha256[place].tobytes(), int(one.labels[place])].append(place)
    found = [
        (places[key].pop(), place)
        for place, key in enumerate(
            (digest.tobytes(), label) for digest, label in zip(other.sha256, other.labels.tolist(), strict=True)
        )
        if places.get(key)
    ]
    if not found:
        raise RunError("the two runs can't be compared: they have no test image with the same label in common")
    old, new = np.array(found, np.intp).T
    return old, new


def _model_changes(
    pair: PredictionsPair,
    suffixes: tuple[str, str],
    one: Predictions,
    other: Predictions,
    places: NDArray[np.intp],
    paths: Sequence[Path],
    max_images: int,
) -> ModelChanges:
    """Return the changes between two models over the same n images.

    `places`, (n,), are the indices of the images in the split of the second run, whose files are `paths`. At most
    `max_images` images are shown of the new errors, and of the fixed errors. The `suffixes` tell the models apart.
    """
    from tasks.analysis.statistics import compare_predictions

    first, second = (f"{record.model} {suffix}".strip() for record, suffix in zip(pair, suffixes, strict=True))
    newly_wrong, newly_right = other.wrong & ~one.wrong, one.wrong & ~other.wrong

    def shown(mask: NDArray[np.bool_], confidence: NDArray[np.float64]) -> Iterator[Changed]:
        indices = np.flatnonzero(mask)
        chosen = indices[np.argsort(-confidence[indices], kind="stable")][:max_images].tolist()
        images = read_images(paths, places[chosen])
        for at in chosen:
            yield Changed(
                index=int(places[at]),
                label=int(other.labels[at]),
                pixels=encode_pixels(images[int(places[at])]),
                before=model_answer(one, at),
                now=model_answer(other, at),
            )

    return ModelChanges(
        before=pair[0].model,
        now=pair[1].model,
        comparison=compare_predictions(first, one, second, other),
        newly_wrong=tuple(shown(newly_wrong, other.confidence)),
        newly_right=tuple(shown(newly_right, one.confidence)),
    )


def _settings_between(before: RunRecord, now: RunRecord, work: Workspace) -> Iterator[Setting]:
    """Yield the settings that differ between two runs."""
    labels = _training_labels(before.train, now.train, work)
    one, other = (
        dict(_flatten_settings(_run_settings(run, name))) for run, name in zip((before, now), labels, strict=True)
    )
    for name in dict.fromkeys([*one, *other]):
        if one.get(name) != other.get(name):
            yield Setting(name=name, before=one.get(name, "-"), now=other.get(name, "-"))


def _training_settings(run: RunRecord) -> dict[str, Any]:
    """Return the values of a run's recipe that affect its models."""
    return run.recipe.model_dump(mode="json", exclude={"description", "gates"})


def _run_settings(run: RunRecord, labels: str) -> dict[str, Any]:
    """Return all settings that affect a run's models, by name; `labels` identifies the training labels."""
    recipe = _training_settings(run)
    networks = {network.pop("name"): network["layers"] for network in recipe.pop("models")}
    return {
        "dataset": run.dataset,
        "recipe": recipe,
        "model": networks,
        "training images": run.train.pixels_sha256[:12],
        "training labels": labels,
        "threads": {model.name: model.threads for model in run.models},
        "code": run.code[:12],
        **run.libraries,
    }


def _training_labels(before: SplitRecord, now: SplitRecord, work: Workspace) -> tuple[str, str]:
    """Return what identifies the labels of each of two training splits, the same if the labels are the same.

    Records of earlier versions have no digest of the labels. The same archive and the same images mean the same labels,
    so that the files need not be read.
    """
    known = before.labels_sha256 and now.labels_sha256
    if not known and (before.archives[1], before.pixels_sha256) == (now.archives[1], now.pixels_sha256):
        return "", ""
    return _labels_digest(before, work), _labels_digest(now, work)


def _labels_digest(split: SplitRecord, work: Workspace) -> str:
    """Return the start of the digest of a split's labels, or of their archive if the labels can't be read."""
    try:
        return str(with_labels_digest(split, work.root).labels_sha256)[:12]
    except StorageError:
        return f"unknown, from the archive {split.archives[1][:12]}"


def _flatten_settings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested values, each with its path as a name of several words."""
    inner = value if isinstance(value, Mapping) else dict(enumerate(value, 1)) if isinstance(value, list) else None
    if inner is None:
        yield name, str(value)
    else:
        for key, item in inner.items():
            yield from _flatten_settings(item, f"{name} {key}".strip())


def not_inferior(first: str, difference: Estimate, margin: float) -> Check:
    """Check that the second of two models is not inferior to the `first` by the margin or more.

    The lower bound of the confidence interval of the difference must exceed `-margin`.
    """
    return Check(
        name=f"not inferior to {first} by {100 * margin:g} {'point' if margin == 0.01 else 'points'} or more",
        passed=difference.low > -margin,
        found=difference.points,
    )
