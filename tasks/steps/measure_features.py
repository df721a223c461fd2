"""Measure features of each image that need neither label nor model.

The result is a Parquet file with one row per image and one column per feature. The step depends on the images alone, so
a later run on the same data finds its record in the cache.
"""

from tasks.data.split_parquet import read_groups
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import MeasuresRecord, SplitRecord
from tasks.storage.content_files import require_all_valid, write_content_addressed
from tasks.storage.folders import Folder


@step("measure {split.name}", libraries=("numpy", "pandas", "pyarrow", "scipy"))
def measure(split: SplitRecord, work: Workspace) -> MeasuresRecord:
    """Measure every image of a split.

    Raises:
        StorageError: If the split is missing or altered, or the measurements can't be written.
    """
    from tasks.images.features import features_of  # noqa: PLC0415  # scipy is slow to import, and a cached record does not need it

    found = features_of(block.images for block in read_groups(require_all_valid(work.root, split.parts)))
    return MeasuresRecord(
        file=write_content_addressed(work.root, Folder.MEASURES, split.name, ".parquet", found.to_parquet(index=False))
    )
