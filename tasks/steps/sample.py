"""Draw a random sample of a split that is too large to analyze whole.

The sample's record has the form of a split's record, and its images keep their index in the whole split. Steps that
hold all images in memory, or that spend long on each image, take the sample; training and prediction take the whole
split.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.data.split_content import LabelsDigest
from tasks.data.split_parquet import ARRAYS, Split, SplitWriter, join_splits, read_groups, rows_of
from tasks.engine.cached_task import Hints, step
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.schemas.records import SplitRecord
from tasks.storage.content_files import move_into_store, require_all_valid
from tasks.storage.folders import Folder

_MAX_IMAGES, _MIN_IMAGES = (
    250_000,
    10_000,
)  # images: more than most datasets have, and enough for intervals of 0.1 points
_MAX_BYTES = 256 << 20  # bytes of pixels: a sample of larger images holds fewer


def needs_sample(count: int, shape: Sequence[int]) -> bool:
    """Return whether a split of `count` images of a shape is too large to analyze whole."""
    return count > _sample_size(shape)


def _sample_size(shape: Sequence[int]) -> int:
    """Return the maximum number of images of a shape that are analyzed."""
    return max(_MIN_IMAGES, min(_MAX_IMAGES, _MAX_BYTES // math.prod(shape)))


@step("sample {split.name}", libraries=("numpy", "pyarrow"), hints=Hints(result_name="{split.name}-sample"))
def sample(split: SplitRecord, work: Workspace) -> SplitRecord:
    """Draw a uniform random sample of a split and store it as Parquet.

    The seed is fixed, so that the same split gives the same sample.

    Raises:
        StorageError: If the split is missing or altered, or the sample can't be written.
    """
    name = f"{split.name}-sample"
    chosen = np.zeros(split.count, bool)
    chosen[np.random.default_rng(0).choice(split.count, _sample_size(split.shape), replace=False)] = True
    count = int(chosen.sum())
    paths = require_all_valid(work.root, split.parts)
    drawn = join_splits((_take_chosen(block, chosen) for block in read_groups(paths)), count)
    with work.scratch() as scratch:
        with SplitWriter(scratch, drawn.meta.model_copy(update={"name": name})) as writer:
            for start in range(0, count, rows_of(split.shape)):
                some = slice(start, start + rows_of(split.shape))
                writer.write(drawn.images[some], drawn.labels[some], drawn.indices[some])
        first, *further = (move_into_store(work.root, Folder.SPLITS, name, ".parquet", path) for path in writer.paths)
    log(f"{split.name}: sampled {count:,} of {split.count:,} images for a closer analysis")
    return split.model_copy(
        update={
            "name": name,
            "file": first,
            "further": tuple(further),
            "count": count,
            "drawn_from": split.count,
            "pixels_sha256": hashlib.sha256(drawn.images.data).hexdigest(),
            "labels_sha256": LabelsDigest([drawn.labels]).hexdigest(),
        }
    )


def _take_chosen(block: Split, chosen: NDArray[np.bool_]) -> Split:
    """Return the images of a block that are chosen.

    Args:
        block: Part of the split.
        chosen: (N,) bool mask over the whole split.
    """
    which = chosen[block.indices]
    return block.model_copy(update={name: getattr(block, name)[which] for name in ARRAYS})
