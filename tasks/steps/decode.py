"""Decode the two archives of a split into Parquet."""

import hashlib

from tasks.config.dataset import Dataset
from tasks.config.dataset import SplitSpec as Expected
from tasks.data.archive_reader import image_label_blocks
from tasks.data.split_content import LabelsDigest
from tasks.data.split_parquet import SplitMeta, SplitWriter
from tasks.engine.cached_task import Hints, step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import ArchiveRecord, SplitRecord
from tasks.storage.content_files import move_into_store, require_valid
from tasks.storage.folders import Folder


@step("decode {name}", libraries=("numpy", "pyarrow"), hints=Hints(result_name="{name}"))
def decode(dataset: Dataset, name: str, images: ArchiveRecord, labels: ArchiveRecord, work: Workspace) -> SplitRecord:
    """Decode one split.

    Raises:
        DecodeError: If an archive does not have the expected content.
        StorageError: If an archive is missing or altered, or the Parquet file can't be written.
    """
    expected: Expected = getattr(dataset, name)
    meta = SplitMeta(
        name=name,
        dataset=dataset.name,
        shape=dataset.image_shape,
        classes=dataset.classes,
        archives=(images.file.sha256, labels.file.sha256),
    )
    image_path, label_path = require_valid(work.root, images.file), require_valid(work.root, labels.file)
    pixels_digest, labels_digest = hashlib.sha256(), LabelsDigest()
    with work.scratch() as scratch:
        with SplitWriter(scratch, meta) as writer:
            for pixels, classes in image_label_blocks(image_path, label_path, dataset, expected):
                pixels_digest.update(pixels.data)
                labels_digest.update(classes)
                writer.write(pixels, classes)
        first, *further = (move_into_store(work.root, Folder.SPLITS, name, ".parquet", path) for path in writer.paths)
        return SplitRecord(
            name=name,
            file=first,
            further=tuple(further),
            count=expected.count,
            shape=dataset.image_shape,
            classes=dataset.classes,
            pixels_sha256=pixels_digest.hexdigest(),
            labels_sha256=labels_digest.hexdigest(),
            archives=meta.archives,
        )
