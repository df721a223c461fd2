"""Define the plan that a dry run of a flow shows: what would be computed, and what is in the cache."""

from datetime import datetime
from typing import Literal

from pydantic import computed_field

from tasks.base import Frozen

StepPlan = Literal["cached", "compute", "depends", "always"]


class PlannedStep(Frozen):
    """A step of a flow, and whether it would be computed.

    `name` is the name of the task run, and `kind` that of the step's function. A step whose plan is `depends` is computed
    unless an earlier record turns out to have the same inputs, some of which are not computed yet. `why` is the reason to
    compute the step, as far as its inputs are known. `depends_on` names the steps to compute on which the other inputs
    depend. `run` and `at` say which run computed the record of a cached step, and when. `seconds` is the median time of the
    step in `timed` earlier runs.
    """

    name: str
    kind: str
    plan: StepPlan
    why: str = ""
    depends_on: tuple[str, ...] = ()
    run: str | None = None
    at: datetime | None = None
    seconds: float | None = None
    timed: int = 0


class Plan(Frozen):
    """The plan of a run or a study under a root.

    The estimates sum up the times of steps, some of which run at the same time, and leave out those in `untimed`.
    """

    root: str
    dataset: str
    steps: tuple[PlannedStep, ...]

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic documents
    @property
    def seconds(self) -> float:
        """The estimated time of the steps that would be computed in any case."""
        return self._sum({"compute", "always"})

    @computed_field  # type: ignore[prop-decorator]
    @property
    def most_seconds(self) -> float:
        """The estimated time if all steps whose inputs are not known are computed, too."""
        return self._sum({"compute", "always", "depends"})

    @computed_field  # type: ignore[prop-decorator]
    @property
    def untimed(self) -> tuple[str, ...]:
        """The names of the steps that no earlier run has timed, without those that are cached or always run."""
        return tuple(one.name for one in self.steps if one.plan in {"compute", "depends"} and one.seconds is None)

    def named(self, plan: StepPlan) -> tuple[str, ...]:
        """Return the names of the steps that have a plan."""
        return tuple(one.name for one in self.steps if one.plan == plan)

    def _sum(self, plans: set[StepPlan]) -> float:
        return round(sum(one.seconds or 0 for one in self.steps if one.plan in plans), 3)
