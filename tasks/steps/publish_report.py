"""Publish the report of one run, and any other document, as files and as Prefect artifacts.

The files are `report.html`, `report.md` and `report.json` in the run's folder. The artifacts have stable keys, so that
Prefect keeps their versions together. Such a step is never cached, because a cache hit would publish nothing.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import TaskRunContext

from artifacts.common.rendering import DocumentRendering, MarkdownArtifacts
from artifacts.common.rows import TableArtifact, for_ui, text_for_ui
from artifacts.diagram.networks import DrawnNetwork, networks_of
from artifacts.report import text as words
from artifacts.report.renderer import Rendering, changes_text
from artifacts.report.tables import all_tables
from tasks.engine.cached_task import uncached_step
from tasks.engine.optional_parts import omit, optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Analysis, AnalysisRecord, Changes, Decision, Provenance, Report
from tasks.schemas.architecture import Architecture, ArchitectureRecord
from tasks.schemas.records import ChangesRecord, FiguresRecord, Omission, ReportRecord
from tasks.storage.content_files import read_document, require_valid
from tasks.storage.folders import Folder
from tasks.storage.page_records import free_name, write_page

_LARGEST = 512 * 1024  # bytes per artifact: Prefect stores it in its database and sends it whole to the browser


@uncached_step("report", always_runs="each run has a report of its own")
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

    The report lists the optional parts that the run omitted and the artifacts that could not be published. `figures` is
    None if they were omitted, and `changes` without an earlier run. `described` holds the models whose diagrams are
    shown.

    Raises:
        StorageError: If the analysis, its figures or the changes are missing or altered, or a file can't be written.
    """
    document = read_document(work.root, analysis.file, Analysis)
    drawn = json.loads(require_valid(work.root, figures.file).read_bytes()) if figures else {}
    left_out = [*omitted]
    changed = read_document(work.root, changes.file, Changes) if changes else None
    networks: tuple[DrawnNetwork, ...] = ()
    with optional("diagrams of the networks", left_out):
        networks = networks_of(read_document(work.root, one.file, Architecture) for one in described)

    def rendering_of(omitted: tuple[Omission, ...], place: str) -> Rendering:
        whole = Report(provenance=provenance, decision=decision, changes=changed, analysis=document, omitted=omitted)
        return Rendering(whole, drawn, networks, place)

    return publish(
        rendering_of,
        title=f"{document.subject.title}: error analysis of {work.run}",
        verdict=words.headline(document),
        log_lines=(*words.accuracies(document), words.headline(document), words.gate_summary(decision)),
        tables=all_tables(document),
        omitted=left_out,
        work=work,
    )


def require_renderable(changes: ChangesRecord, work: Workspace) -> None:
    """Check that a report can show changes, because nothing of an earlier run may make the report fail.

    Raises:
        Exception: If the changes can't be read or rendered.
    """
    changes_text(read_document(work.root, changes.file, Changes))


def publish(
    rendering_of: Callable[[tuple[Omission, ...], str], DocumentRendering[Any]],
    *,
    title: str,
    verdict: str,
    log_lines: Iterable[str],
    tables: Iterable[TableArtifact],
    omitted: Iterable[Omission],
    work: Workspace,
) -> ReportRecord:
    """Log, write and publish a document; an artifact that can't be published is omitted, and the document says so.

    `rendering_of` returns the renderer, given all omissions and the path of the HTML page. `log_lines` holds sentences for
    the log, `tables` the tables for Prefect's UI, and `omitted` the parts that were omitted before.

    Raises:
        StorageError: If a file can't be written.
    """
    path = f"{Folder.RUNS}/{work.run}/report"
    left_out, place = tuple(omitted), free_name(work.root, f"{path}.html", (work.run,))
    rendering = rendering_of(left_out, place)
    for line in log_lines:
        log(line)
    with ThreadPoolExecutor(1) as aside:  # render the page while the server responds
        publishing = aside.submit(copy_context().run, _publish_artifacts, rendering, tables)
        page = rendering.html(title)
        unpublished = publishing.result()
    if unpublished:
        rendering = rendering_of((*left_out, *unpublished), place)
        page = rendering.html(title)
    html = write_page(work.root, f"{path}.html", page, (work.run,))
    log(f"full report: {work.root / html.path}")
    return ReportRecord(
        html=html,
        markdown=write_page(work.root, f"{path}.md", rendering.markdown(), (work.run,)),
        document=write_page(work.root, f"{path}.json", rendering.document.model_dump_json(indent=1), (work.run,)),
        verdict=verdict,
        omitted=rendering.omitted,
    )


def _publish_artifacts(rendering: DocumentRendering[Any], tables: Iterable[TableArtifact]) -> list[Omission]:
    """Publish the pages and the tables of a document as artifacts of the task run, if there is one.

    Returns:
        The artifacts that could not be published.
    """
    omitted: list[Omission] = []
    if TaskRunContext.get() is None:
        return omitted
    for key, (description, text) in _pages_that_fit(rendering, omitted).items():
        with optional(f"artifact {key}", omitted):
            create_markdown_artifact(text, key, text_for_ui(description))
    for key, description, rows in tables:
        with optional(f"artifact {key}", omitted):
            create_table_artifact(for_ui(rows), key, text_for_ui(description))
    return omitted


def _pages_that_fit(rendering: DocumentRendering[Any], omitted: list[Omission]) -> MarkdownArtifacts:
    """Return every page with the largest number of images per gallery that keeps the page within the size limit.

    The number is halved until all pages fit. A page that is too large even with one image per gallery is added to
    `omitted`.
    """
    found: MarkdownArtifacts = {}
    max_images = rendering.max_images
    for halvings in range(max_images.bit_length()):  # down to one image
        pages = rendering.pages(max_images >> halvings)
        found |= {key: page for key, page in pages.items() if key not in found and len(page[1].encode()) <= _LARGEST}
        if len(found) == len(pages):
            break
    for key in pages.keys() - found.keys():
        omit(f"artifact {key}", f"it is larger than {_LARGEST:,} bytes; see report.html", omitted)
    return found
