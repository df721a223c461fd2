"""Draw the figures of an analysis.

The result is a JSON file that maps the name of each figure to a data URL. Drawing is a step of its own, because every
run renders its report again but can reuse the figures.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tasks.engine.cached_task import step
from tasks.engine.optional_parts import optional
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis, AnalysisRecord
from tasks.schemas.records import FiguresRecord, Omission
from tasks.storage.content_files import read_document, write_content_addressed
from tasks.storage.folders import Folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@step("draw", libraries=("matplotlib", "numpy", "pillow"))
def draw(analysis: AnalysisRecord, work: Workspace) -> FiguresRecord:
    """Draw all figures of an analysis; a figure that fails is omitted.

    Raises:
        StorageError: If the analysis is missing or altered, or the figures can't be written.
    """
    from artifacts.report.figures import figures_of  # noqa: PLC0415  # matplotlib is slow to import, and cached figures do not need it

    document = read_document(work.root, analysis.file, Analysis)
    figures, omitted = draw_each(figures_of(document))
    file = write_content_addressed(work.root, Folder.FIGURES, "figures", ".json", json.dumps(figures).encode())
    return FiguresRecord(file=file, count=len(figures), omitted=tuple(omitted))


def draw_each(figures: Mapping[str, Callable[[], "Figure"]]) -> tuple[dict[str, str], list[Omission]]:
    """Return the figures as data URLs, by name, and those that were omitted because they failed."""
    from artifacts.common.plotting import figure_url  # noqa: PLC0415  # matplotlib is slow to import, and cached figures do not need it

    drawn: dict[str, str] = {}
    omitted: list[Omission] = []
    for name, draw_one in figures.items():
        with optional(f"figure {name}", omitted):
            drawn[name] = figure_url(draw_one())
    return drawn, omitted
