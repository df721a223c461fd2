"""Measure a model's accuracy on corrupted test images, such as shifted or blurred images.

All models are evaluated on the same images.
"""

import numpy as np

from tasks.data.split_parquet import read_images, read_index
from tasks.engine.cached_task import step
from tasks.engine.task_progress import ProgressBar
from tasks.engine.workspace import Workspace
from tasks.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt, sample_indices
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.schemas.robustness import CorruptionCounts, RobustnessRecord
from tasks.storage.content_files import require_all_valid, write_document
from tasks.storage.folders import Folder
from tasks.training.inference import batch_predictor, load_shared_model


@step("stress {model.name}", libraries=("keras", "numpy", "pyarrow", "scipy", "tensorflow"))
def stress(model: ModelRecord, test: SplitRecord, work: Workspace) -> RobustnessRecord:
    """Evaluate a model on corrupted test images, by kind and severity of the corruption.

    Raises:
        StorageError: If a file is missing or altered, or the model is rejected.
    """
    paths = require_all_valid(work.root, test.parts)
    predict = batch_predictor(load_shared_model(work.root, model.file), modified=True)
    split_index = read_index(paths)
    chosen = sample_indices(len(split_index.labels))
    found_at = read_images(paths, chosen)
    images, labels = np.stack([found_at[place] for place in chosen.tolist()]), split_index.labels[chosen]
    bar = ProgressBar(f"stressing-{model.name}", f"{model.name}: evaluating on corrupted images")
    by_image = np.zeros(len(chosen), int)
    counts: dict[str, tuple[int, ...]] = {}
    for number, kind in enumerate(CORRUPTIONS, start=1):
        right = np.stack([predict(corrupt(images, kind, one)).argmax(axis=1) == labels for one in SEVERITIES])
        by_image += right.sum(axis=0)
        counts[kind] = tuple(right.sum(axis=1).tolist())
        bar.refresh(number / len(CORRUPTIONS), f"{model.name}: evaluated on corrupted images, {kind}")
    found = CorruptionCounts(
        model=model.name,
        images=len(chosen),
        clean=int((predict(images).argmax(axis=1) == labels).sum()),
        right=counts,
        by_image=tuple(by_image.tolist()),
    )
    file = write_document(work.root, Folder.ROBUSTNESS, model.name, found)
    return RobustnessRecord(model=model.name, file=file)
