"""Report: one analysis, published for people.

In: the analysis's record and where everything came from. Out: `report.html`, `report.md` and `report.json` in the run's
folder, and Prefect artifacts of stable keys. Never cached: what a cached task would have published is not published.
"""

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from artifacts import render, tables
from tasks.analysis import Analysis, Provenance, Report
from tasks.files import verified, write_text
from tasks.records import AnalysisRecord, ReportRecord
from tasks.workspace import Workspace

LARGEST = 512 * 1024  # bytes of one artifact: it lies in Prefect's database, and travels whole to the browser


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def report(analysis: AnalysisRecord, provenance: Provenance, work: Workspace) -> ReportRecord:
    """Render, write and publish the report of one run.

    Raises:
        StorageError: the analysis is gone or altered, or a file can't be written.
    """
    document = Analysis.model_validate_json(verified(work.root, analysis.file).read_bytes())
    whole = Report(provenance=provenance, analysis=document)
    parts = render.parts_of(whole)
    publish(document, parts)
    markdown = "\n\n".join(parts)
    title = f"{document.subject.title}: error analysis of {work.run}"
    return ReportRecord(
        html=write_text(work.root, f"runs/{work.run}/report.html", render.page(markdown, title)),
        markdown=write_text(work.root, f"runs/{work.run}/report.md", markdown),
        document=write_text(work.root, f"runs/{work.run}/report.json", whole.model_dump_json(indent=1)),
    )


def publish(analysis: Analysis, parts: render.Parts) -> None:
    """Make the report's parts artifacts of the task run, if there is one."""
    if TaskRunContext.get() is None:
        return
    pages = (
        ("report", "What came out of the error analysis", f"{parts.summary}\n\n{parts.origins}"),
        ("galleries", "The misclassified images", parts.galleries),
    )
    for key, description, text in pages:
        size = len(text.encode())
        if size <= LARGEST:
            create_markdown_artifact(text, key, description)
        else:
            get_run_logger().warning(f"artifact {key!r} not published: {size:,} bytes; see report.html")
    for key, description, rows in tables.all_tables(analysis):
        create_table_artifact([dict(row) for row in rows], key, description)
