"""Run the slow steps of a flow in a thread of the tests' own process, so that a test can change the code that they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from flows.runners.base import Workers


class InThreads(Workers):
    """Workers that are one thread of this process, so that a test can inject failures."""

    def _dispatch(
        self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]
    ) -> PrefectFuture[Any]:
        return self.runner.submit(task, parameters, dependencies=edges)

    def terminate(self) -> None:
        """Leave the thread to the runner."""


@contextmanager
def in_threads(*_: object, **__: object) -> Iterator[Workers]:
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        yield InThreads(runner, exclusive_server=True)
