"""Measure: what can be measured on each image alone, without label or model.

In: the record of a split. Out: a MeasuresRecord, whose file is Parquet: a row an image, a column a feature. A step of its own,
since it hangs on the images alone: the next night's run finds it.
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
        StorageError: the split is gone or altered, or what is measured can't be written.
    """
    from tasks.images.features import features_of  # noqa: PLC0415  # scipy is slow to import, and of no use where it is found

    found = features_of(block.images for block in read_groups(require_all_valid(work.root, split.parts)))
    return MeasuresRecord(
        file=write_content_addressed(work.root, Folder.MEASURES, split.name, ".parquet", found.to_parquet(index=False))
    )
