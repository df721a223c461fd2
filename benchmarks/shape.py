"""A flow of the same shape as the real one, with workers as it has them, whose steps do nothing."""

from typing import Any, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows.workers import finished, worker_processes
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
        archives = [nothing.submit() for _ in range(4)]
        splits = [nothing.submit(*archives[:2]), nothing.submit(*archives[2:])]
        finished([*archives, *splits])
        data = nothing.submit(*splits)
        models = [pool.submit(nothing, splits[0]) for _ in range(2)]
        found = [pool.submit(nothing, model, splits[1]) for model in models]
        trained = [pool.submit(nothing, model, splits[0]) for model in models]
        selection = nothing.submit(*found)
        explained = [pool.submit(nothing, model, selection) for model in models]
        finished([data, *models, *found, *trained, selection, *explained])
        analysed = nothing.submit(*explained, *trained, data)
        drawn = nothing.submit(analysed)
    finished([analysed, drawn])
    for _ in range(5):  # compare, judge, report, promote: in the flow itself
        nothing(drawn)
