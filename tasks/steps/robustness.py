"""Stress: how often a model is right about test images that are shifted, blurred, soiled, ...

In: the records of a model and of the test split. Out: a StressRecord. All models are asked about the same images.
"""

import numpy as np

from tasks.data.split_parquet import read_images, read_marks
from tasks.engine.cached_task import step
from tasks.engine.task_progress import Bar
from tasks.engine.workspace import Workspace
from tasks.images.corruptions import CORRUPTIONS, SEVERITIES, corrupted, drawn
from tasks.schemas.records import ModelRecord, SplitRecord
from tasks.schemas.robustness import Stress, StressRecord
from tasks.storage.content_files import all_verified, keep, verified
from tasks.storage.folders import Folder
from tasks.training.inference import load_model, predicting


@step("stress {model.name}", libraries=("keras", "numpy", "pyarrow", "scipy", "tensorflow"))
def stress(model: ModelRecord, test: SplitRecord, work: Workspace) -> StressRecord:
    """Ask a model about corrupted test images.

    Raises:
        StorageError: a file is gone or altered, or the model is refused.
    """
    paths = all_verified(work.root, test.parts)
    predict = predicting(load_model(verified(work.root, model.file)), altered=True)
    marks = read_marks(paths)
    chosen = drawn(len(marks.labels))
    found_at = read_images(paths, chosen)
    images, labels = np.stack([found_at[place] for place in chosen.tolist()]), marks.labels[chosen]
    bar = Bar(f"stressing-{model.name}", f"{model.name}: on corrupted images")
    by_image = np.zeros(len(chosen), int)
    counts: dict[str, tuple[int, ...]] = {}
    for number, kind in enumerate(CORRUPTIONS, start=1):
        right = np.stack([predict(corrupted(images, kind, one)).argmax(axis=1) == labels for one in SEVERITIES])
        by_image += right.sum(axis=0)
        counts[kind] = tuple(right.sum(axis=1).tolist())
        bar.refresh(number / len(CORRUPTIONS), f"{model.name}: on corrupted images, {kind}")
    found = Stress(
        model=model.name,
        images=len(chosen),
        clean=int((predict(images).argmax(axis=1) == labels).sum()),
        right=counts,
        by_image=tuple(by_image.tolist()),
    )
    file = keep(work.root, Folder.ROBUSTNESS, model.name, ".json", found.model_dump_json().encode())
    return StressRecord(model=model.name, file=file)
