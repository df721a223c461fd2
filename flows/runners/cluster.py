"""Workers that are processes of a cluster, on this machine or on others.

They share only the root and Prefect's API with the flow. Before a worker gets a task, it is checked for the same code,
libraries and root, and for access to the API. A lost worker is replaced by another one, which repeats its work from the
last checkpoint under the root.
"""

from abc import abstractmethod
from typing import Any, cast

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import resolve_inputs_sync

from flows.processes.prefect_compat import wrapped_future
from flows.runners.base import Workers


class ClusterWorkers(Workers):
    """Workers of a cluster behind one of Prefect's task runners, whose futures are of type `known`."""

    known: type[PrefectFuture[Any]]

    def _dispatch(
        self, task: Task[..., Any], parameters: dict[str, Any], edges: dict[str, set[Any]]
    ) -> PrefectFuture[Any]:
        """Send a task to a worker.

        The results of other workers go to the worker directly. All other futures are resolved here.
        """

        def resolved(value: Any) -> Any:
            foreign = isinstance(value, PrefectFuture) and not isinstance(value, self.known)
            return resolve_inputs_sync({"it": value})["it"] if foreign else value

        here = visit_collection(parameters, visit_fn=resolved, return_data=True)
        return cast("PrefectFuture[Any]", self.runner.submit(task, here, dependencies=edges))

    def terminate(self) -> None:
        """Cancel the tasks that have not started; tasks that have started finish, and their records are kept."""
        self.cancel([wrapped_future(one) for one in self.submitted if isinstance(one, self.known)])

    @abstractmethod
    def cancel(self, futures: list[Any]) -> None:
        """Cancel the futures that the cluster has not started."""
