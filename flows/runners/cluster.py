"""Cluster: workers that are processes of a cluster, on this machine or on others.

They have the root and Prefect's API in common with the flow, and nothing else. Before one is given anything to do, it is asked
whether it has the same code, the same libraries, the same root, and a way to the API. A worker that is lost is replaced by
another: what it did is done again, from the last epoch on that it has left under the root.
"""

from abc import abstractmethod
from typing import Any, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import resolve_inputs_sync

from flows.runners.base import Workers


class ClusterWorkers(Workers):
    """Workers that are processes of a cluster, behind one of Prefect's runners, whose futures are of type `known`."""

    known: type[PrefectFuture[Any]]

    def __init__(self, runner: TaskRunner[Any], *, alone: bool) -> None:
        super().__init__(alone=alone)
        self.runner = runner

    def send(self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]) -> PrefectFuture[Any]:
        """Send a task to a worker; what other workers compute goes there without a way around, all else is waited for here."""

        def resolved(value: Any) -> Any:
            foreign = isinstance(value, PrefectFuture) and not isinstance(value, self.known)
            return resolve_inputs_sync({"it": value})["it"] if foreign else value

        here = visit_collection(parameters, visit_fn=resolved, return_data=True)
        return cast("PrefectFuture[Any]", self.runner.submit(task, here, dependencies=edges))

    def end(self) -> None:
        """Withdraw what was not begun; what was begun comes to its end, and is kept."""
        self.withdraw([cast("Any", one).wrapped_future for one in self.submitted if isinstance(one, self.known)])

    @abstractmethod
    def withdraw(self, futures: list[Any]) -> None:
        """Withdraw what the cluster has not begun."""
