"""Define a flow with the same structure and workers as the real flow, but with steps that do nothing."""

from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any, cast

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runners.base import submit, wait_for_all
from flows.runners.local import worker_processes
from tasks.engine.cache import CacheMiss
from tasks.engine.cached_task import CachedTask
from tasks.schemas.records import Record


class Uncached(CachedTask[..., Record]):
    """Step that keeps no record."""

    def lookup(self, _: Mapping[str, Any]) -> CacheMiss:
        """Return a cache miss."""
        return CacheMiss()

    def look_up_or_compute(self, given: BoundArguments) -> Record:
        """Compute the record."""
        return self.compute(*given.args)


def compute_nothing(*_needs: Any) -> Record:
    """Return an empty record."""
    return Record()


nothing = Uncached(compute_nothing, (), (), task_run_name="nothing")


@flow(task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)), persist_result=False)
def shape() -> None:
    """Run the steps of the real flow with the same dependencies."""
    with worker_processes(2, ahead=True) as pool:
        archives = [submit(nothing) for _ in range(4)]
        splits = [submit(nothing, *archives[:2]), submit(nothing, *archives[2:])]
        wait_for_all([*archives, *splits])
        data = submit(nothing, *splits)
        models = [pool.submit(nothing, splits[0]) for _ in range(2)]
        found = [pool.submit(nothing, model, splits[1]) for model in models]
        trained = [pool.submit(nothing, model, splits[0]) for model in models]
        selection = submit(nothing, *found)
        explained = [pool.submit(nothing, model, selection) for model in models]
        wait_for_all([data, *models, *found, *trained, selection, *explained])
        analyzed = submit(nothing, *explained, *trained, data)
        drawn = submit(nothing, analyzed)
    wait_for_all([analyzed, drawn])
    for _ in range(5):  # compare, judge, report and promote run in the flow's own process
        nothing(drawn)
