"""Define the plan that a dry run of a flow shows: what would be computed, and what is in the cache."""

from datetime import datetime
from typing import Literal

from pydantic import computed_field

from tasks.base import Frozen

Verdict = Literal["cached", "compute", "depends", "always"]


class PlannedStep(Frozen):
    """A step of a flow, and whether it would be computed.

    `name` is the name of the task run, and `kind` that of the step's function. A step whose verdict is `depends` is
    computed unless its inputs, which are not computed yet, become those of an earlier record. `why` is the reason to compute
    the step, as far as its inputs are known. `depends_on` names the steps to compute on which the other inputs depend. `run`
    and `at` say which run computed the record of a cached step, and when. `seconds` is the median time of the step in
    `timed` earlier runs.
    """

    name: str
    kind: str
    verdict: Verdict
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
        return tuple(one.name for one in self.steps if one.verdict in {"compute", "depends"} and one.seconds is None)

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the names of the steps with a verdict."""
        return tuple(one.name for one in self.steps if one.verdict == verdict)

    def _sum(self, verdicts: set[Verdict]) -> float:
        return round(sum(one.seconds or 0 for one in self.steps if one.verdict in verdicts), 3)
