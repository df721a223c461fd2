"""Compare two runs over the test images that they share: new errors, fixed errors, and their significance."""

from tasks.analysis.paired_comparison import PredictionsPair, changes_between, require_predictions
from tasks.engine.cached_task import Hints, step
from tasks.engine.optional_parts import optional
from tasks.engine.workspace import Workspace
from tasks.errors import RunError
from tasks.schemas.records import ChangesRecord, Omission
from tasks.schemas.runs import COMPARISON, RunRecord
from tasks.storage.content_files import write_document
from tasks.storage.folders import Folder


@step(
    "compare",
    libraries=("numpy", "pyarrow", "scipy", "statsmodels"),
    hints=Hints(always_runs="each run is compared with an earlier one, if there is one"),
)
def compare(before: RunRecord, now: RunRecord, work: Workspace) -> ChangesRecord:
    """Compare the models that have the same name in both runs.

    A model is omitted if the earlier run does not have it, or if its predictions for one of the runs are missing.

    Raises:
        RunError: If the runs have no common image, or no model that can be compared.
        StorageError: If a file is missing or altered.
    """
    omitted: list[Omission] = []
    pairs: list[PredictionsPair] = []
    for model in now.models:
        with optional(f"{COMPARISON} {before.run} of {model.name}", omitted):
            pair = before.of(model.name), now.of(model.name)
            for one in pair:
                require_predictions(one, work)
            pairs.append(pair)
    if not pairs:
        raise RunError("; ".join(dict.fromkeys(one.why for one in omitted)))
    changes = changes_between(before, now, pairs, work)
    file = write_document(work.root, Folder.CHANGES, "changes", changes)
    return ChangesRecord(file=file, omitted=tuple(omitted))
