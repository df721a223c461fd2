"""Collect the provenance of a run, and build the record and the result of runs and studies.

The input is the records of all steps. The provenance is the last section of the report.
"""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.config.dataset import Dataset
from tasks.config.recipe import Recipe
from tasks.engine.cache import versions
from tasks.engine.code_digest import code_digest
from tasks.engine.workspace import Workspace
from tasks.schemas.analysis import Decision, FileLine, Provenance, StepLine
from tasks.schemas.evidence import PreparedData, RunRecords
from tasks.schemas.records import (
    ChangesRecord,
    ManifestEntry,
    ModelRecord,
    Omission,
    Origin,
    PartialRecord,
    PredictionsRecord,
    Record,
    ReportRecord,
)
from tasks.schemas.results import ModelResult, RunResult, StudyResult
from tasks.schemas.runs import Champion, FlowRun, RunRecord, StudyRun
from tasks.schemas.study import SeedRun, StudyRecord

LIBRARIES = ("tensorflow", "keras", "numpy", "pyarrow", "scipy", "statsmodels", "scikit-learn", "cleanlab", "prefect")


def _flow_run_fields(flow_run: FlowRun | None) -> dict[str, Any]:
    """Return the fields of a report and of a result that describe the flow run."""
    if flow_run is None:
        return {}
    return {"url": flow_run.url, "needs_serve": flow_run.needs_serve, "tags": flow_run.tags}


def provenance_of(
    data: PreparedData, steps: Sequence[Record], work: Workspace, flow_run: FlowRun | None = None
) -> Provenance:
    """Return the provenance of a run; steps whose record another run made count as cached."""
    return Provenance(
        **_flow_run_fields(flow_run),
        run=work.run,
        began=work.began,
        root=str(work.root),
        archives=tuple(data.archives.values()),
        splits=(*data.splits.values(), *data.samples.values()),
        steps=_step_lines(steps, work),
        files=tuple(
            FileLine(role=entry.role, path=entry.file.path, sha256=entry.file.sha256)
            for entry in _manifest_of(steps)
            if entry.kind != "download"
        ),
        libraries=versions(LIBRARIES),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        cores=os.cpu_count() or 1,
    )


def _step_lines(steps: Iterable[Record], work: Workspace) -> tuple[StepLine, ...]:
    """Return the cached steps of a run, each with its origin and whether its record was found in the cache.

    All attempts of a run have its name, and an attempt finds the records of the attempts before it.
    """
    origins = [step.origin for step in steps if step.origin]
    return tuple(
        StepLine(name=origin.step, origin=origin, cached=origin.run != work.run or origin.at < work.began)
        for origin in origins
    )


def _uncached_lines(origins: Iterable[Origin]) -> tuple[StepLine, ...]:
    """Return the steps of a run that are computed in every run."""
    return tuple(StepLine(name=origin.step, origin=origin, cached=False, always_runs=True) for origin in origins)


def omissions_of(steps: Iterable[Record]) -> list[Omission]:
    """Return all optional parts that the steps left out."""
    return [omission for step in steps if isinstance(step, PartialRecord) for omission in step.omitted]


def _manifest_of(steps: Iterable[Record]) -> tuple[ManifestEntry, ...]:
    """Return every file that the steps made or found in the cache, in the order of the steps."""
    return tuple(
        ManifestEntry(role=step.origin.step, kind=step.origin.kind, file=file)
        for step in steps
        if step.origin
        for file in step.files()
    )


def _whole_manifest(steps: Iterable[Record], report: ReportRecord) -> tuple[ManifestEntry, ...]:
    """Return every file of a run, from the archives to the report, which is not made by a cached step."""
    published = (ManifestEntry(role="report", kind="report", file=file) for file in report.files())
    return (*_manifest_of(steps), *published)


def _finished_work(dataset: Dataset, data: PreparedData, work: Workspace, flow_run: FlowRun | None) -> dict[str, Any]:
    """Return the fields that the record of a run and that of a study have in common."""
    return {
        "run": work.run,
        "began": work.began,
        "dataset": dataset.name,
        "train": data.train,
        "test": data.test,
        "libraries": versions(LIBRARIES),
        "code": code_digest("tasks.steps.train"),
        "flow_run": flow_run,
    }


def run_record(
    dataset: Dataset, recipe: Recipe, line: str, records: RunRecords, work: Workspace, flow_run: FlowRun | None
) -> RunRecord:
    """Return the record of a run, for comparison with later runs."""
    return RunRecord(
        **_finished_work(dataset, records.data, work, flow_run),
        recipe=recipe,
        models=tuple(records.evidence.models.values()),
        predictions=tuple(records.evidence.predictions.values()),
        attributions=tuple(records.evidence.attributions.values()),
        line=line,
    )


def with_manifest(run: RunRecord, steps: Iterable[Record], report: ReportRecord) -> RunRecord:
    """Return the record of a finished run, complete with its manifest and omissions."""
    return run.model_copy(update={"manifest": _whole_manifest(steps, report), "omitted": report.omitted})


def study_run(
    dataset: Dataset,
    trials: Sequence[SeedRun],
    data: PreparedData,
    steps: Iterable[Record],
    report: ReportRecord,
    work: Workspace,
    flow_run: FlowRun | None,
) -> StudyRun:
    """Return the record of a finished study."""
    return StudyRun(
        **_finished_work(dataset, data, work, flow_run),
        manifest=_whole_manifest(steps, report),
        omitted=report.omitted,
        trials=tuple(trials),
        verdict=report.verdict,
    )


def _finished_result(
    steps: Iterable[Record], uncached: Iterable[Origin], report: ReportRecord, work: Workspace, flow_run: FlowRun | None
) -> dict[str, Any]:
    """Return the fields that the result of a run and that of a study have in common."""
    return {
        **_flow_run_fields(flow_run),
        "run": work.run,
        "root": str(work.root),
        "seconds": round((datetime.now(UTC) - work.began).total_seconds(), 2),
        "verdict": report.verdict,
        "report": {"html": report.html.path, "markdown": report.markdown.path, "json": report.document.path},
        "steps": (*_step_lines(steps, work), *_uncached_lines(uncached)),
        "omitted": report.omitted,
    }


def study_result(
    dataset: Dataset,
    study: StudyRecord,
    steps: Iterable[Record],
    report: ReportRecord,
    work: Workspace,
    flow_run: FlowRun | None,
) -> StudyResult:
    """Return the result of a study, for the terminal and for `--json`."""
    return StudyResult(
        **_finished_result(steps, work.uncached, report, work, flow_run),
        dataset=dataset.name,
        seeds=study.seeds,
        arms=study.arms,
        pairs=study.pairs,
    )


def run_result(
    run: RunRecord,
    records: RunRecords,
    changes: ChangesRecord | None,
    report: ReportRecord,
    decision: Decision,
    work: Workspace,
    *,
    champion: Champion | None,
    before: RunRecord | None,
) -> RunResult:
    """Return the result of a run, for the terminal and for `--json`.

    `champion` is the entry of the run's best model if the decision promoted it, and `before` is the run that this run was
    compared with.
    """
    compared = [changes.origin] if changes and changes.origin else []
    return RunResult(
        **_finished_result(records.steps, [*compared, *work.uncached], report, work, run.flow_run),
        dataset=run.dataset,
        models={model.name: _model_result(model, run.of(model.name)) for model in run.models},
        comparisons=records.analysis.comparisons,
        decision=decision,
        promoted=champion is not None and champion.run == run.run,
        compared_with=before.run if before else None,
    )


def _model_result(model: ModelRecord, predictions: PredictionsRecord) -> ModelResult:
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
