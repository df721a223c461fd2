"""Publish the report of one study, in the files and as the artifacts that a run has (`publish_report.py`)."""

from functools import partial

from artifacts.study.figures import study_figures
from artifacts.study.renderer import StudyRendering
from artifacts.study.tables import study_tables
from artifacts.study.text import opening_sentences
from tasks.engine.cached_task import uncached_step
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Provenance
from tasks.schemas.records import ReportRecord
from tasks.schemas.study import Study, StudyRecord
from tasks.steps.draw_figures import draw_each
from tasks.steps.publish_report import publish
from tasks.storage.content_files import read_document


@uncached_step("publish", always_runs="each study has a report of its own")
def publish_study(record: StudyRecord, provenance: Provenance, work: Workspace) -> ReportRecord:
    """Render, write and publish the report of one study.

    A figure or an artifact that fails is omitted, and the report says so.

    Raises:
        StorageError: If the study's document is missing or altered, or a file can't be written.
    """
    study = read_document(work.root, record.file, Study)
    figures, omitted = draw_each(study_figures(study))
    sentences = opening_sentences(study)
    return publish(
        partial(StudyRendering, study, provenance, figures),
        title=f"{study.title}: study of {work.run}",
        verdict=" ".join(sentences),
        log_lines=sentences,
        tables=study_tables(study),
        omitted=omitted,
        work=work,
    )
