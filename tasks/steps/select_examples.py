"""Select the test images that the report shows and explains: every misclassified image, up to a maximum."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tasks.analysis.image_cards import max_images_shown
from tasks.base import Frozen
from tasks.data.evaluated_split import load_evaluated_split
from tasks.data.predictions_parquet import Predictions
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import PredictionsRecord, SelectionRecord, SplitRecord
from tasks.storage.content_files import write_document
from tasks.storage.folders import Folder


class Selection(Frozen):
    """The indices of the selected images, in ascending order."""

    indices: tuple[int, ...]


@step("select", libraries=("numpy", "pyarrow"))
def select(predictions: Mapping[str, PredictionsRecord], test: SplitRecord, work: Workspace) -> SelectionRecord:
    """Select the images to show among those that any model misclassifies.

    Raises:
        StorageError: If a file is missing or altered, or holds predictions for other images.
    """
    given = load_evaluated_split(test, predictions.values(), work).predictions
    selection = Selection(indices=tuple(sorted(choose_examples(given, max_images_shown(test.shape)))))
    file = write_document(work.root, Folder.SELECTIONS, "selection", selection)
    return SelectionRecord(file=file, count=len(selection.indices))


def choose_examples(given: Sequence[Predictions], max_images: int) -> list[int]:
    """Return the indices of up to `max_images` misclassified images.

    The most confident error of each (predicted, label) pattern comes first, then the second most confident of each, and
    so on.
    """
    highest: dict[int, tuple[float, tuple[int, int]]] = {}
    for predictions in given:
        indices = predictions.wrong.nonzero()[0]
        wrong = predictions.take(indices)
        patterns = zip(wrong.predicted.tolist(), wrong.labels.tolist(), strict=True)
        for index, confidence, pattern in zip(indices.tolist(), wrong.confidence.tolist(), patterns, strict=True):
            highest[index] = max(highest.get(index, (0.0, pattern)), (confidence, pattern))
    rank: defaultdict[tuple[int, int], int] = defaultdict(int)
    turns: list[tuple[int, float, int]] = []
    for index, (confidence, pattern) in sorted(highest.items(), key=lambda item: (-item[1][0], item[0])):
        turns.append((rank[pattern], -confidence, index))
        rank[pattern] += 1
    return [index for _, _, index in sorted(turns)[:max_images]]
