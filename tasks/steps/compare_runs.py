"""Compare: two runs over the same test images, found by their content: what broke, what was fixed, and whether it matters.

In: the records of two runs. Out: a ChangesRecord, whose file is the Changes. Refuses: runs without an image in common.
"""

from tasks.analysis.paired_comparison import PredictionsPair, changes_between, require_predictions
from tasks.engine.cached_task import step
from tasks.engine.optional_parts import optional
from tasks.engine.workspace import Workspace
from tasks.errors import RunError
from tasks.schemas.records import ChangesRecord, Omission
from tasks.schemas.runs import COMPARISON, RunRecord
from tasks.storage.content_files import write_content_addressed
from tasks.storage.folders import Folder


@step("compare", libraries=("numpy", "pyarrow", "scipy", "statsmodels"))
def compare(before: RunRecord, now: RunRecord, work: Workspace) -> ChangesRecord:
    """Compare the models of one name of two runs; those whose predictions are not there are left out.

    Raises:
        RunError: the runs have no image in common, or no model that can be compared.
        StorageError: a file is gone or altered.
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
    file = write_content_addressed(work.root, Folder.CHANGES, "changes", ".json", changes.model_dump_json().encode())
    return ChangesRecord(file=file, omitted=tuple(omitted))
