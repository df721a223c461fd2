"""Draw: the figures of an analysis.

In: the record of an analysis. Out: a FiguresRecord, whose file holds each figure as a data URL by its name. A step of its own,
since a report is made anew in every run, and its figures are not.
"""

import json

from tasks.engine.cached_task import step
from tasks.engine.optional_parts import optional
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis, AnalysisRecord
from tasks.schemas.records import FiguresRecord, Omission
from tasks.storage.content_files import require_valid, write_content_addressed
from tasks.storage.folders import Folder


@step("draw", libraries=("matplotlib", "numpy", "pillow"))
def draw(analysis: AnalysisRecord, work: Workspace) -> FiguresRecord:
    """Draw all figures of an analysis; those that fail are left out.

    Raises:
        StorageError: the analysis is gone or altered, or the figures can't be written.
    """
    from artifacts.common.plotting import figure_url  # noqa: PLC0415  # matplotlib is slow to import, and of no use where they are found
    from artifacts.report.figures import figures_of  # noqa: PLC0415  # matplotlib is slow to import, and of no use where they are found

    document = Analysis.model_validate_json(require_valid(work.root, analysis.file).read_bytes())
    figures: dict[str, str] = {}
    omitted: list[Omission] = []
    for name, draw_one in figures_of(document).items():
        with optional(f"figure {name}", omitted):
            figures[name] = figure_url(draw_one())
    file = write_content_addressed(work.root, Folder.FIGURES, "figures", ".json", json.dumps(figures).encode())
    return FiguresRecord(file=file, count=len(figures), omitted=tuple(omitted))
