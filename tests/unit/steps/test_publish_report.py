"""Test that nothing of an earlier run can make the report fail."""

import pytest

from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import AnalysisRecord, Changes
from tasks.schemas.records import ChangesRecord, FileRecord
from tasks.steps.publish_report import report
from tasks.storage.content_files import write_document
from tests.support.samples import DECISION, analysis_of_two, changes_of_two, provenance


def of_an_unknown_class(changes: Changes) -> Changes:
    """Return changes with an answer that is none of their classes."""
    (model,) = changes.models
    (changed,) = model.newly_right
    unknown = changed.model_copy(update={"before": changed.before.model_copy(update={"predicted": 11})})
    return changes.model_copy(update={"models": (model.model_copy(update={"newly_right": (unknown,)}),)})


def written(work: Workspace, changes: ChangesRecord) -> tuple[str, list[str]]:
    """Return the report of two models as Markdown, and the parts that it leaves out."""
    document = analysis_of_two()
    file = write_document(work.root, "analyses", "analysis", document)
    analysis = AnalysisRecord(file=file, models=("plain", "other"), comparisons=document.comparisons)
    found = report.fn(analysis, None, changes, DECISION, provenance(), work)
    return (work.root / found.markdown.path).read_text(), [one.line for one in found.omitted]


def test_the_changes_since_an_earlier_run_are_in_the_report(work: Workspace) -> None:
    text, omitted = written(work, ChangesRecord(file=write_document(work.root, "changes", "changes", changes_of_two())))
    assert "Compared with run **earlier**" in text
    assert omitted == []


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "of another class"])
def test_changes_that_cannot_be_read_or_rendered_are_left_out(work: Workspace, missing: bool) -> None:
    file = write_document(work.root, "changes", "changes", of_an_unknown_class(changes_of_two()))
    if missing:
        file = FileRecord(path="changes/none.json", bytes=1, sha256="0" * 64)
    text, (line,) = written(work, ChangesRecord(file=file))
    assert line.startswith("left out: comparison with runs before this one: ")
    assert "No comparison with runs before this one: " in text
