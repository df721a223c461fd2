"""Publish the report of a study as files and as Prefect artifacts.

The files are `report.html`, `report.md` and `report.json` in the run's folder. The artifacts have stable keys, so that
Prefect keeps their versions together. The step is never cached, because a cache hit would publish nothing.
"""

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from artifacts.common.plotting import figure_url
from artifacts.common.rows import for_ui
from artifacts.study import tables
from artifacts.study import text as study_words
from artifacts.study.figures import study_figures
from artifacts.study.renderer import StudyRendering
from tasks.engine.cached_task import STEP_SECONDS
from tasks.engine.optional_parts import optional
from tasks.engine.run_log import log
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Provenance
from tasks.schemas.records import Omission, ReportRecord
from tasks.schemas.study import Study, StudyRecord
from tasks.storage.content_files import require_valid
from tasks.storage.folders import Folder
from tasks.storage.page_records import free_name, write_page


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False, timeout_seconds=STEP_SECONDS)
def publish_study(record: StudyRecord, provenance: Provenance, work: Workspace) -> ReportRecord:
    """Render, write and publish the report of one study.

    A figure or an artifact that fails is omitted, and the report says so.

    Raises:
        StorageError: If the study's document is missing or altered, or a file can't be written.
    """
    study = Study.model_validate_json(require_valid(work.root, record.file).read_bytes())
    omitted: list[Omission] = []
    figures: dict[str, str] = {}
    for name, draw in study_figures(study).items():
        with optional(f"figure {name}", omitted):
            figures[name] = figure_url(draw())
    folder = f"{Folder.RUNS}/{work.run}"
    place = free_name(work.root, f"{folder}/report.html", (work.run,))
    if TaskRunContext.get() is not None:
        with optional("artifact study", omitted):
            text = StudyRendering(study, provenance, figures, omitted, place).markdown()
            create_markdown_artifact(text, "study", "Results of the study")
        for key, description, rows in tables.study_tables(study):
            with optional(f"artifact {key}", omitted):
                create_table_artifact(for_ui(rows), key, description)
    rendering = StudyRendering(study, provenance, figures, omitted, place)
    for line in study_words.said_first(study):
        log(line)
    page = rendering.html(f"{study.title}: study of {work.run}")
    html = write_page(work.root, f"{folder}/report.html", page, (work.run,))
    log(f"full report: {work.root / html.path}")
    return ReportRecord(
        html=html,
        markdown=write_page(work.root, f"{folder}/report.md", rendering.markdown(), (work.run,)),
        document=write_page(work.root, f"{folder}/report.json", study.model_dump_json(indent=1), (work.run,)),
        verdict=" ".join(study_words.said_first(study)),
        omitted=tuple(omitted),
    )
