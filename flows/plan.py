"""Plan a run or a study: what it would compute, and what is in the cache.

This module does not import the flows: Prefect would write a note of its telemetry when a flow is defined in a terminal.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flows.config import validate_run, validate_study
from flows.root_option import root_to_read
from flows.runners.dry_run import DryRun
from flows.stages import submit_run_steps, submit_study_steps
from tasks.schemas.plan import Plan
from tasks.schemas.runs import RunRecord, StudyRun
from tasks.steps.champion import judge, promote
from tasks.steps.compare_runs import compare
from tasks.steps.publish_report import report
from tasks.steps.publish_study import publish_study
from tasks.steps.study_analysis import plan_seed_runs


def plan_run(parameters: Mapping[str, Any]) -> Plan:
    """Plan the steps of a run with these parameters; start and write nothing."""
    config = validate_run(at=datetime.now(UTC), **parameters)
    dry_run = DryRun(root_to_read(parameters["root"]))
    submit_run_steps(config, dry_run, dry_run.work, [])
    return dry_run.plan(config.dataset, (compare, judge, report, promote), RunRecord)


def plan_study(parameters: Mapping[str, Any]) -> Plan:
    """Plan the steps of a study with these parameters; start and write nothing."""
    config = validate_study(**parameters)
    dry_run = DryRun(root_to_read(parameters["root"]))
    submit_study_steps(config.dataset, plan_seed_runs(config.recipes, config.seeds), dry_run, dry_run.work)
    return dry_run.plan(config.dataset, (publish_study,), StudyRun)
