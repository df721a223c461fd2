"""Identify splits by their content, independently of the archives.

The same archives compressed again hold the same split, and one zip file can hold several.
"""

import hashlib
from collections.abc import Iterable

from tasks.data.split_parquet import Labels, read_index
from tasks.schemas.records import SplitRecord
from tasks.storage.backend import Root
from tasks.storage.content_files import require_all_valid

_LABEL = "<u2"  # the type in which labels are hashed, whatever the type of their column


class LabelsDigest:
    """SHA-256 of all labels of a split in order, computed block by block."""

    def __init__(self, blocks: Iterable[Labels] = ()) -> None:
        self.hash = hashlib.sha256()
        for labels in blocks:
            self.update(labels)

    def update(self, labels: Labels) -> None:
        """Add the next labels, (n,)."""
        self.hash.update(labels.astype(_LABEL).tobytes())

    def hexdigest(self) -> str:
        """Return the SHA-256 in hex."""
        return self.hash.hexdigest()


def with_labels_digest(split: SplitRecord, root: Root) -> SplitRecord:
    """Return a record with the digest of its labels, which is computed from the file if an earlier version omitted it.

    Raises:
        StorageError: If the file is needed, but missing or altered.
    """
    if split.labels_sha256:
        return split
    labels = read_index(require_all_valid(root, split.parts)).labels
    return split.model_copy(update={"labels_sha256": LabelsDigest([labels]).hexdigest()})
