"""A flow of the same shape as the real one, with workers as it has them, whose steps do nothing."""

from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows.workers import submit, wait_for_all, worker_processes
from tasks.cache import Miss
from tasks.step import LOOK_UPS


@task(cache_policy=NO_CACHE, persist_result=False)
def nothing(*_needs: Any) -> int:
    """A step."""
    return 1


LOOK_UPS[nothing.task_key] = lambda _: Miss()


@flow(task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=4)), persist_result=False)
def shape() -> None:
    """The steps of the real flow, and what each waits for."""
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
        analysed = submit(nothing, *explained, *trained, data)
        drawn = submit(nothing, analysed)
    wait_for_all([analysed, drawn])
    for _ in range(5):  # compare, judge, report, promote: in the flow itself
        nothing(drawn)
