"""Provenance: where everything of a run came from, and what it leaves.

In: the records of all steps, in the order of the data. Out: the report's last section, and the run's result.
"""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from tasks.analysis import AnalysisRecord, Decision, FileLine, Provenance, StepLine
from tasks.cache import versions
from tasks.code import code_digest
from tasks.dataset import Dataset
from tasks.history import FlowRun
from tasks.recipe import Recipe
from tasks.records import (
    TEST,
    TRAIN,
    ArchiveRecord,
    ChangesRecord,
    Link,
    ModelRecord,
    Omission,
    PartialRecord,
    PredictionsRecord,
    Record,
    ReportRecord,
    SplitRecord,
)
from tasks.results import ModelResult, RunResult, StudyResult
from tasks.runs import Champion, RunRecord, StudyRun
from tasks.seeds import StudyRecord, Trial
from tasks.workspace import Workspace

LIBRARIES = ("tensorflow", "keras", "numpy", "pyarrow", "scipy", "statsmodels", "scikit-learn", "cleanlab", "prefect")

Kind = TypeVar("Kind", bound=Record)


def of(kind: type[Kind], records: Sequence[Record]) -> tuple[Kind, ...]:
    """The records of one kind, in order."""
    return tuple(record for record in records if isinstance(record, kind))


def provenance_of(records: Sequence[Record], work: Workspace, began: datetime) -> Provenance:
    """Where everything came from: steps that another run made show as cached."""
    return Provenance(
        run=work.run,
        began=began,
        root=str(work.root),
        archives=of(ArchiveRecord, records),
        splits=of(SplitRecord, records),
        steps=steps_of(records, work),
        files=tuple(
            FileLine(role=record.origin.step, path=file.path, sha256=file.sha256)
            for record in records
            if record.origin and not isinstance(record, ArchiveRecord)
            for file in record.files()
        ),
        libraries=versions(LIBRARIES),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
    )


def steps_of(records: Sequence[Record], work: Workspace) -> tuple[StepLine, ...]:
    """The steps of a run: which were found, and why the others were computed."""
    origins = [record.origin for record in records if record.origin]
    return tuple(StepLine(name=origin.step, origin=origin, cached=origin.run != work.run) for origin in origins)


def with_chain(
    run: RunRecord,
    records: Sequence[Record],
    changes: ChangesRecord | None,
    report: ReportRecord,
) -> RunRecord:
    """The record of a finished run: with what it left out, and every file that it made or used, from archives to report."""
    chain = chain_of([*records, *([changes] if changes else [])], report)
    return run.model_copy(update={"chain": chain, "omitted": report.omitted})


def omissions_of(records: Sequence[Record]) -> list[Omission]:
    """All optional parts that steps have left out."""
    return [omission for record in records if isinstance(record, PartialRecord) for omission in record.omitted]


def chain_of(records: Sequence[Record], report: ReportRecord) -> tuple[Link, ...]:
    """Every file that steps have made or found, in their order, then the report's."""
    made = [Link(role=one.origin.step, file=file) for one in records if one.origin for file in one.files()]
    return (*made, *(Link(role="report", file=file) for file in report.files()))


def run_record(
    records: Sequence[Record],
    dataset: Dataset,
    recipe: Recipe,
    line: str,
    work: Workspace,
    began: datetime,
    flow_run: FlowRun | None = None,
) -> RunRecord:
    """What later runs will compare themselves with."""
    splits = {split.name: split for split in of(SplitRecord, records)}
    return RunRecord(
        run=work.run,
        began=began,
        dataset=dataset.name,
        recipe=recipe,
        train=splits[TRAIN],
        test=splits[TEST],
        # Further members of ensembles have other seeds.
        models=tuple(model for model in of(ModelRecord, records) if model.seed == recipe.seed),
        predictions=tuple(one for one in of(PredictionsRecord, records) if one.split == TEST),
        libraries=versions(LIBRARIES),
        code=code_digest("tasks.train"),
        line=line,
        flow_run=flow_run,
    )


def study_run(
    records: Sequence[Record],
    report: ReportRecord,
    dataset: Dataset,
    trials: Sequence[Trial],
    work: Workspace,
    began: datetime,
    flow_run: FlowRun | None = None,
) -> StudyRun:
    """The record of a finished study."""
    splits = {split.name: split for split in of(SplitRecord, records)}
    return StudyRun(
        run=work.run,
        began=began,
        dataset=dataset.name,
        train=splits[TRAIN],
        test=splits[TEST],
        libraries=versions(LIBRARIES),
        code=code_digest("tasks.train"),
        chain=chain_of(records, report),
        omitted=report.omitted,
        trials=tuple(trials),
        verdict=report.verdict,
        flow_run=flow_run,
    )


def study_result(records: Sequence[Record], this: StudyRun, report: ReportRecord, work: Workspace) -> StudyResult:
    """What a study leaves, for the terminal and for `--json`."""
    (survey,) = of(StudyRecord, records)
    return StudyResult(
        run=work.run,
        root=str(work.root),
        seconds=round((datetime.now(UTC) - this.began).total_seconds(), 2),
        dataset=this.dataset,
        seeds=survey.seeds,
        verdict=report.verdict,
        arms=survey.arms,
        pairs=survey.pairs,
        report={"html": report.html.path, "markdown": report.markdown.path, "json": report.document.path},
        steps=steps_of(records, work),
        omitted=report.omitted,
    )


def run_result(
    records: Sequence[Record],
    run: RunRecord,
    analysis: AnalysisRecord,
    report: ReportRecord,
    decision: Decision,
    champion: Champion | None,
    before: RunRecord | None,
    work: Workspace,
) -> RunResult:
    """What a run leaves, for the terminal and for `--json`: `champion` is what it made its best model, `before` the run that it
    was compared with.
    """
    return RunResult(
        run=work.run,
        root=str(work.root),
        seconds=round((datetime.now(UTC) - run.began).total_seconds(), 2),
        dataset=run.dataset,
        models={model.name: model_result(model, run.of(model.name)) for model in run.models},
        verdict=report.verdict,
        comparisons=analysis.comparisons,
        decision=decision,
        promoted=champion is not None,
        report={"html": report.html.path, "markdown": report.markdown.path, "json": report.document.path},
        steps=steps_of(records, work),
        compared_with=before.run if before else None,
        omitted=run.omitted,
    )


def model_result(model: ModelRecord, predictions: PredictionsRecord) -> ModelResult:
    """One model of a run."""
    return ModelResult(
        accuracy=predictions.accuracy,
        errors=predictions.errors,
        loss=predictions.loss,
        parameters=model.parameters,
        epochs=model.epochs,
        fit_seconds=model.fit_seconds,
        model=model.file.path,
        model_sha256=model.file.sha256,
        predictions=predictions.file.path,
    )
