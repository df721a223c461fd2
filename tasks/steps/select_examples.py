"""Select: which images the report shows and explains.

In: the predictions of all models for one split, by model, and its record. Out: a SelectionRecord, whose file names images by
their index.
Every misclassified image is chosen as long as there are not too many; else the surest of each pattern, in turn.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tasks.analysis.image_cards import most_shown
from tasks.base import Frozen
from tasks.data.evaluated_split import load_evaluated_split
from tasks.data.predictions_parquet import Predictions
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.schemas.records import PredictionsRecord, SelectionRecord, SplitRecord
from tasks.storage.content_files import write_content_addressed
from tasks.storage.folders import Folder


class Selection(Frozen):
    """The indices of the chosen images, in ascending order."""

    indices: tuple[int, ...]


@step("select", libraries=("numpy", "pyarrow"))
def select(predictions: Mapping[str, PredictionsRecord], test: SplitRecord, work: Workspace) -> SelectionRecord:
    """Choose the images to show from what any model got wrong.

    Raises:
        StorageError: a file is gone or altered, or holds predictions for other images.
    """
    given = load_evaluated_split(test, predictions.values(), work).given
    selection = Selection(indices=tuple(sorted(choose_examples(given, most_shown(test.shape)))))
    file = write_content_addressed(
        work.root, Folder.SELECTIONS, "selection", ".json", selection.model_dump_json().encode()
    )
    return SelectionRecord(file=file, count=len(selection.indices))


def choose_examples(given: Sequence[Predictions], most: int) -> list[int]:
    """Up to `most` misclassified images: of each (predicted, label) pattern the surest, then the second surest, ..."""
    surest: dict[int, tuple[float, tuple[int, int]]] = {}
    for predictions in given:
        indices = predictions.wrong.nonzero()[0]
        wrong = predictions.take(indices)
        patterns = zip(wrong.predicted.tolist(), wrong.labels.tolist(), strict=True)
        for index, sure, pattern in zip(indices.tolist(), wrong.confidence.tolist(), patterns, strict=True):
            surest[index] = max(surest.get(index, (0.0, pattern)), (sure, pattern))
    rank: defaultdict[tuple[int, int], int] = defaultdict(int)
    turns: list[tuple[int, float, int]] = []
    for index, (sure, pattern) in sorted(surest.items(), key=lambda item: (-item[1][0], item[0])):
        turns.append((rank[pattern], -sure, index))
        rank[pattern] += 1
    return [index for _, _, index in sorted(turns)[:most]]
