import os
import subprocess
import sys
from concurrent.futures import Future

import pytest
from prefect import flow
from prefect.task_runners import _ChainedFuture

from flows.runners.base import wait_for_optional
from flows.runners.local import ProcessWorkers, Runner, allocate_cores, worker_processes
from tasks.engine.cached_task import step
from tasks.engine.workspace import Workspace
from tasks.errors import WorkerError
from tasks.schemas.records import ChangesRecord, Omission
from tasks.storage.content_files import write_content_addressed

pytestmark = pytest.mark.usefixtures("all_cores")


@pytest.mark.parametrize(
    ("trainings", "cores", "processes", "threads"),
    [(2, 1, 1, 1), (2, 2, 2, 1), (2, 3, 2, 1), (2, 4, 2, 2), (2, 8, 2, 4), (1, 8, 1, 8), (10, 4, 4, 1), (3, 8, 3, 2)],
)
def test_trainings_do_not_oversubscribe_cores(trainings: int, cores: int, processes: int, threads: int) -> None:
    assert allocate_cores(trainings, cores) == (processes, threads)
    assert processes * threads <= max(cores, 1)


def test_a_process_that_dies_in_the_middle_of_a_message_keeps_nobody_waiting() -> None:
    with Runner(max_workers=1) as runner:
        queue, forwarding = runner._subprocess_message_queue, runner._message_forwarding_thread
        assert queue
        assert forwarding
        queue._wlock.acquire()  # the dead process would never release the lock
    queue.cancel_join_thread()  # otherwise the end of all tests would wait for a failure of this test
    assert not forwarding.is_alive()


@step("die")
def die(work: Workspace) -> ChangesRecord:
    """End this process, as the operating system does when memory runs out."""
    os._exit(1)


def test_a_result_that_comes_after_the_workers_were_ended_is_not_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resolved: Future[Future[bytes]] = Future()
    late: Future[bytes] = Future()
    chained = _ChainedFuture(resolved)
    resolved.set_result(late)
    ProcessWorkers(Runner(max_workers=1), exclusive_server=True).terminate()
    chained.set_exception(WorkerError("the step was ended before it had a result"))
    late.set_result(b"")
    assert caplog.records == []


@step("talk")
def talk(work: Workspace) -> ChangesRecord:
    """Print, as a function of the user may do."""
    sys.stdout.write("not the result")
    sys.stdout.flush()
    return ChangesRecord(file=write_content_addressed(work.root, "notes", "note", ".txt", b""))


@pytest.mark.usefixtures("prefect")
def test_output_of_a_worker_is_not_written_to_standard_output(
    work: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    @flow
    def talking() -> None:
        with worker_processes(1, ahead=False) as workers:
            workers.submit(talk, work).result()

    talking()
    printed = capfd.readouterr()
    assert "not the result" not in printed.out
    assert "not the result" in printed.err


@pytest.mark.usefixtures("prefect")
def test_an_optional_step_whose_process_dies_is_left_out(work: Workspace) -> None:
    omitted: list[Omission] = []

    @flow
    def dying() -> int:
        with worker_processes(2, ahead=False) as workers:
            futures = {name: workers.submit(die, work) for name in ("one", "other")}
            return len(wait_for_optional("death", futures, omitted))

    assert dying() == 0
    assert [one.part for one in omitted] == ["death of one", "death of other"]
    assert "process" in omitted[0].why


def test_a_log_line_that_nobody_reads_does_not_end_a_task() -> None:
    code = (
        "import logging, os, sys; from flows.processes.log_filters import ignore_broken_pipe; ignore_broken_pipe()\n"
        "from prefect.logging.handlers import PrefectConsoleHandler\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 2)\n"
        "log = logging.getLogger('own'); log.addHandler(PrefectConsoleHandler()); log.error('said to nobody'); print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")
