"""Plan the steps of a flow instead of computing them.

A dry run takes the steps from the same code as the workers of a real run, computes their keys, and looks them up. It
starts and writes nothing.
"""

import inspect
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any

from flows.runners.base import Submitter
from tasks.config.dataset import Dataset
from tasks.engine.cache import CacheMiss, Pending
from tasks.engine.cached_task import CachedTask, UncachedTask
from tasks.engine.earlier_records import (
    earlier_records,
    explain_miss,
    may_be_cached,
    pending_inputs,
    typical_seconds,
)
from tasks.engine.workspace import Workspace
from tasks.history.run_store import read_runs
from tasks.schemas.plan import Plan, PlannedStep
from tasks.schemas.records import Origin, Record
from tasks.schemas.runs import CompletedRun
from tasks.storage.backend import Root

_LATEST_RUNS = 5  # from which the time of a step that always runs is estimated


class DryRun(Submitter):
    """Plans each step that is submitted, and returns its record, or a Pending in place of it."""

    def __init__(self, root: Root) -> None:
        self.work = Workspace(root=root, run="dry run")
        self.steps: list[PlannedStep] = []
        self.records = cache(lambda kind: earlier_records(kind, root, sys.maxsize))

    def submit(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Plan a step."""
        given = inspect.signature(task.fn).bind(*args, **kwargs).arguments
        step, found = self._planned(task, given)
        self.steps.append(step)
        return found

    def submit_here(self, task: CachedTask[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Plan a step."""
        return self.submit(task, *args, **kwargs)

    def plan(self, dataset: Dataset, uncached: Sequence[Any], kind: type[CompletedRun]) -> Plan:
        """Return the plan of all submitted steps, followed by steps that always run.

        `kind` is the kind of record that holds the times of these in earlier runs.
        """
        runs = [run for run in read_runs(self.work.root, kind)[0] if run.dataset == dataset.name][-_LATEST_RUNS:]
        always = [
            _planned_always(task, [*self._origins(task), *(one for run in runs for one in run.uncached)])
            for task in uncached
        ]
        return Plan(root=str(self.work.root), dataset=dataset.name, steps=(*self.steps, *always))

    def _planned(self, task: CachedTask[..., Any], given: Mapping[str, Any]) -> tuple[PlannedStep, Record | Pending]:
        """Return the plan of a step, and its record or a Pending."""
        parts, name = task.key_parts(given), task.run_name.format(**given)
        title, kind = str(task.task_run_name).format(**given), parts["step"]
        records, pending = self.records(kind), pending_inputs(parts)
        found = CacheMiss() if pending else task.keyed_lookup(given, dry=True)[1]
        seconds, timed = typical_seconds(parts, name, records, task.hints.grows_with)
        step = PlannedStep(name=title, kind=kind, plan="compute", seconds=seconds, timed=timed)
        causes = tuple(dict.fromkeys(cause for one in pending for cause in one.causes))
        if not isinstance(found, CacheMiss):
            origin = found.origin
            made = {"run": origin.run, "at": origin.at} if origin else {}
            return step.model_copy(update={"plan": "cached", **made}), found
        if pending and may_be_cached(parts, records):
            step = step.model_copy(update={"plan": "depends", "depends_on": causes})
            return step, Pending(task.hints.result_name.format(**given), causes)
        why = found.fault or explain_miss(parts, name, records)
        step = step.model_copy(update={"why": why, "depends_on": causes})
        return step, Pending(task.hints.result_name.format(**given), (title,))

    def _origins(self, task: Any) -> list[Origin]:
        """Return the origins of the records of a cached step that always runs; empty for any other step."""
        return [record.origin for record in self.records(task.compute.__name__)] if isinstance(task, CachedTask) else []


def _planned_always(task: CachedTask[..., Any] | UncachedTask[..., Any], origins: Sequence[Origin]) -> PlannedStep:
    """Return the plan of a step that always runs; the origins are those of steps of earlier runs."""
    always_runs = task.hints.always_runs if isinstance(task, CachedTask) else task.always_runs
    by_time = sorted((one for one in origins if one.step == task.task_run_name), key=lambda one: one.at)
    times = [one.seconds for one in by_time[-_LATEST_RUNS:]]
    return PlannedStep(
        name=str(task.task_run_name),
        kind=task.fn.__name__,
        plan="always",
        why=always_runs,
        seconds=median(times) if times else None,
        timed=len(times),
    )
