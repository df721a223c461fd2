"""Publish the report of one run as files and as Prefect artifacts.

The files are `report.html`, `report.md` and `report.json` in the run's folder. The artifacts have stable keys, so that
Prefect keeps their versions together. The step is never cached, because a cache hit would publish nothing.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from artifacts.common import rows as common_rows
from artifacts.diagram.networks import DrawnNetwork, networks_of
from artifacts.report import tables
from artifacts.report import text as words
from artifacts.report.renderer import MOST_IMAGES, Rendering
from tasks.engine.cached_task import STEP_SECONDS
from tasks.engine.optional_parts import omit, optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis, AnalysisRecord, Changes, Decision, Provenance, Report
from tasks.schemas.architecture import Architecture, ArchitectureRecord
from tasks.schemas.records import ChangesRecord, FiguresRecord, Omission, ReportRecord
from tasks.storage.content_files import require_valid
from tasks.storage.folders import Folder
from tasks.storage.page_records import free_name, write_page

_LARGEST = 512 * 1024  # bytes per artifact: Prefect stores it in its database and sends it whole to the browser

Pages = dict[str, tuple[str, str]]  # description and Markdown by key


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def report(
    analysis: AnalysisRecord,
    figures: FiguresRecord | None,
    changes: ChangesRecord | None,
    decision: Decision,
    provenance: Provenance,
    work: Workspace,
    omitted: Sequence[Omission] = (),
    described: Sequence[ArchitectureRecord] = (),
) -> ReportRecord:
    """Render, write and publish the report of one run.

    The report lists the optional parts that the run omitted and the artifacts that could not be published.

    Args:
        analysis: Record of the analysis document.
        figures: Record of its figures; None if they were omitted.
        changes: Record of the comparison with an earlier run; None without a comparison.
        decision: Decision of the gate.
        provenance: Origin of all data, models and results.
        work: Workspace of the run.
        omitted: Optional parts that were omitted before this step.
        described: Architectures of the models whose diagrams the report shows.

    Raises:
        StorageError: If the analysis, its figures or its changes are missing or altered, or a file can't be written.
    """
    document = Analysis.model_validate_json(require_valid(work.root, analysis.file).read_bytes())
    changed = Changes.model_validate_json(require_valid(work.root, changes.file).read_bytes()) if changes else None
    drawn = json.loads(require_valid(work.root, figures.file).read_bytes()) if figures else {}
    left_out = [*omitted]
    networks: tuple[DrawnNetwork, ...] = ()
    with optional("diagrams of the networks", left_out):
        networks = _networks_drawn(described, work)
    whole = Report(
        provenance=provenance, decision=decision, changes=changed, analysis=document, omitted=tuple(left_out)
    )
    title, folder = f"{document.subject.title}: error analysis of {work.run}", f"{Folder.RUNS}/{work.run}"
    place = free_name(work.root, f"{folder}/report.html", (work.run,))
    rendering = Rendering(whole, drawn, networks, place)
    for line in (*words.accuracies(document), words.headline(document), words.gate_summary(decision)):
        log(line)
    with ThreadPoolExecutor(1) as aside:  # render the page while the server responds
        publishing = aside.submit(copy_context().run, _publish_artifacts, rendering)
        page = rendering.html(title)
        unpublished = publishing.result()
    if unpublished:
        whole = whole.model_copy(update={"omitted": (*left_out, *unpublished)})
        rendering = Rendering(whole, drawn, networks, place)
        page = rendering.html(title)
    html = write_page(work.root, f"{folder}/report.html", page, (work.run,))
    log(f"full report: {work.root / html.path}")
    return ReportRecord(
        html=html,
        markdown=write_page(work.root, f"{folder}/report.md", rendering.markdown().whole, (work.run,)),
        document=write_page(work.root, f"{folder}/report.json", whole.model_dump_json(indent=1), (work.run,)),
        verdict=words.headline(document),
        omitted=whole.omitted,
    )


def _networks_drawn(described: Sequence[ArchitectureRecord], work: Workspace) -> tuple[DrawnNetwork, ...]:
    """Return the diagrams of all described networks.

    Raises:
        StorageError: If a description is missing or altered.
    """
    return networks_of(
        Architecture.model_validate_json(require_valid(work.root, one.file).read_bytes()) for one in described
    )


def _publish_artifacts(rendering: Rendering) -> list[Omission]:
    """Publish the parts of the report as artifacts of the task run, if there is one.

    Returns:
        The artifacts that could not be published.
    """
    omitted: list[Omission] = []
    if TaskRunContext.get() is None:
        return omitted
    for key, (description, text) in _pages_that_fit(rendering, omitted).items():
        with optional(f"artifact {key}", omitted):
            create_markdown_artifact(text, key, description)
    for key, description, rows in tables.all_tables(rendering.report.analysis):
        with optional(f"artifact {key}", omitted):
            create_table_artifact(common_rows.for_ui(rows), key, description)
    return omitted


def _pages_that_fit(rendering: Rendering, omitted: list[Omission]) -> Pages:
    """Return every page with the largest number of images per gallery that keeps the page within the size limit.

    A page that is too large even with one image per gallery is added to `omitted`.
    """
    found: Pages = {}
    for most in _attempts():
        pages = _pages_of(rendering, most)
        found |= {key: page for key, page in pages.items() if key not in found and len(page[1].encode()) <= _LARGEST}
        if len(found) == len(pages):
            break
    for key in pages.keys() - found.keys():
        omit(f"artifact {key}", f"it is larger than {_LARGEST:,} bytes; see report.html", omitted)
    return found


def _attempts() -> Iterator[int]:
    """Yield the numbers of images per gallery to try: the maximum first, then half of it, and so on down to 1."""
    most = MOST_IMAGES
    while most:
        yield most
        most //= 2


def _pages_of(rendering: Rendering, most: int) -> Pages:
    """Return the pages for Prefect's UI, with at most `most` images per gallery."""
    parts = rendering.markdown(most)
    models = {
        f"model-{name.replace('_', '-')}": (f"Network diagram and explained errors of {name}", text)
        for name, text in parts.models.items()
    }
    return {
        "report": ("Results of the error analysis", f"{parts.overview}\n\n{parts.origins}"),
        **models,
        "galleries": ("Misclassified images", parts.galleries),
    }
