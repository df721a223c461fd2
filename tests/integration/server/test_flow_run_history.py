"""Test which rows `mnist prune` removes from Prefect's database and which it keeps, row by row."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context

from flows.server import flow_run_history
from flows.server.database import row_ids
from flows.server.local_server import server, start_server
from tasks.config.dataset import Dataset
from tasks.engine.workspace import Workspace
from tasks.history.flow_runs import add_pending_flow_runs, pending_flow_runs
from tasks.history.run_store import read_runs
from tasks.schemas.records import SplitRecord
from tasks.schemas.runs import FlowRun, RunRecord
from tasks.storage.roots import validate_root
from tests.reliability.signals import Trial, faults, signaled
from tests.support.finished import finished
from tests.support.serving import MNIST, serving

BIG = "x" * 300_000
CASCADING = {"flow_run": "id", "flow_run_state": "flow_run_id", "task_run": "flow_run_id", "log": "flow_run_id",
             "artifact": "flow_run_id"}  # fmt: skip
Rows = dict[str, dict[Any, tuple[Any, ...]]]


@task
def publishes() -> None:
    create_markdown_artifact(BIG, "report")
    create_table_artifact([{"a": 1}], "results")
    get_run_logger().info("published")


def body() -> FlowRun:
    get_run_logger().warning("a run")
    publishes()
    found = flow_run_history.current_flow_run(Path("/root"))
    assert found
    return found


ours, theirs = flow(body, name="mnist"), flow(body, name="somebody's")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set a separate Prefect home for this process and for commands, and yield it."""
    with home_at(tmp_path / "home", monkeypatch):
        yield tmp_path / "home"


@contextmanager
def home_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set Prefect's home for this process and for commands while the block runs."""
    for name in [
        name for name in os.environ if name.startswith("PREFECT_") and name != "PREFECT_SERVER_ANALYTICS_ENABLED"
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    refresh_global_settings_context()
    try:
        yield
    finally:
        monkeypatch.undo()
        refresh_global_settings_context()


@pytest.fixture
def root(work: Workspace) -> Path:
    validate_root(work.root)
    assert isinstance(work.root, Path)
    return work.root


def rows(home: Path) -> Rows:
    """Return every row of the database, by table and by ID (or first column)."""
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: Rows = {}
        for table in tables:
            described = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # names from the database
            columns = [column[0] for column in described.description]
            key = columns.index("id") if "id" in columns else 0
            found[table] = {row[key]: row for row in described}
            found[f"{table}, columns"] = {name: (name,) for name in columns}
    return found


class History(NamedTuple):
    """A Prefect home, and the flow runs of the project's flow and of a foreign flow in its database."""

    home: Path
    mine: list[FlowRun]
    others: list[FlowRun]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Run the project's flow and a foreign flow in turn, three times, on a temporary server."""
    home = tmp_path_factory.mktemp("history") / "home"
    with pytest.MonkeyPatch.context() as patch, home_at(home, patch), start_server() as early, server(early) as api:
        api.wait()
        both = [(ours(), theirs()) for _ in range(3)]
        time.sleep(6)  # the server writes events every 5 s
    return History(home, [one for one, _ in both], [other for _, other in both])


@pytest.fixture
def remembered(home: Path, history: History) -> History:
    """Copy the history to this test's home."""
    shutil.copytree(history.home, home, dirs_exist_ok=True)
    at = str(home / "prefect.db")
    assert {Path(one.at) for one in history.mine} == {history.home / "prefect.db"}
    mine, others = ([one.model_copy(update={"at": at}) for one in runs] for runs in history[1:])
    return History(home, mine, others)


def mnist(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MNIST, *map(str, arguments)], env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )


def about(table: str, found: Rows, ids: set[str]) -> set[Any]:
    """Return the keys of a table's rows that belong to the given flow runs."""
    columns = list(found[f"{table}, columns"])
    place = columns.index(CASCADING[table])
    return {key for key, row in found[table].items() if row[place] in ids}


def test_the_flow_runs_of_pruned_runs_go_with_all_they_had_and_every_other_row_stays(
    remembered: History, root: Path, work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    home, mine, others = remembered
    for number, one in enumerate(mine, 1):
        finished(work, splits, tiny, number, one)
    before, size = rows(home), (home / "prefect.db").stat().st_size
    planned = mnist("prune", "--keep", "1", "--dry-run", "--json", "--root", root)
    assert json.loads(planned.stdout)["history"] == {"flow_runs": 2, "left": 0, "why": ""}
    assert rows(home) == before
    done = mnist("prune", "--keep", "1", "--root", root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "removed 2 flow runs from Prefect's history" in done.stdout
    after = rows(home)
    ids = {str(one.id) for one in mine[:2]}
    for table in CASCADING:
        gone = about(table, before, ids)
        assert len(gone) >= 2, f"{table} had something of them"
        assert after[table] == {key: row for key, row in before[table].items() if key not in gone}, table
    tasks = about("task_run", before, ids)
    place = list(before["task_run_state, columns"]).index("task_run_id")
    stay = {key: row for key, row in before["task_run_state"].items() if row[place] not in tasks}
    assert after["task_run_state"] == stay
    assert len(stay) < len(before["task_run_state"])
    known = ids | tasks | about("artifact", before, ids)
    events = {key for key, row in before["events"].items() if any(one in str(row) for one in known)}
    assert len(events) >= 20
    assert after["events"] == {key: row for key, row in before["events"].items() if key not in events}
    place = list(before["event_resources, columns"]).index("event_id")
    resources = {key: row for key, row in before["event_resources"].items() if row[place] not in events}
    assert after["event_resources"] == resources
    changed = {*CASCADING, "task_run_state", "events", "event_resources"}
    for table in before.keys() - changed:
        assert after[table] == before[table], table
    assert (home / "prefect.db").stat().st_size < size - 2 * len(BIG)
    assert pending_flow_runs(root) == set()
    assert {UUID(str(key)) for key in after["flow_run"]} == {mine[2].id, *(one.id for one in others)}


def test_the_last_artifact_of_a_key_goes_from_the_list_of_the_latest_and_an_earlier_one_comes_back(
    home: Path, root: Path
) -> None:
    with start_server() as early, server(early) as api:
        api.wait()
        other, mine = theirs(), ours()

        @flow(name="mnist")
        def alone() -> FlowRun:
            create_markdown_artifact("alone", "only-here")
            found = flow_run_history.current_flow_run(Path("/root"))
            assert found
            return found

        mine_too = alone()
    add_pending_flow_runs(root, {mine, mine_too})
    assert flow_run_history.clear_history(root).flow_runs == 2
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        latest = database.execute("SELECT key, flow_run_id FROM artifact_collection ORDER BY key").fetchall()
    assert latest == [("report", str(other.id)), ("results", str(other.id))]


def test_a_server_that_does_not_answer_stops_no_pruning_and_a_later_one_does_the_rest(
    remembered: History, root: Path, work: Workspace, splits: dict[str, SplitRecord], tiny: Dataset
) -> None:
    home, (*mine, last), others = remembered
    for number, one in enumerate(mine, 1):
        finished(work, splits, tiny, number, one)
    silent = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = mnist("prune", "--keep", "1", "--json", "--root", root, **silent)
    found = json.loads(done.stdout)
    assert (done.returncode, len(found["runs"])) == (0, 1)
    assert found["history"]["flow_runs"] == 0
    assert found["history"]["left"] == 1
    assert done.stderr.count("\n") == 1
    assert "1 flow run stays in Prefect's history until a later `mnist prune`: no Prefect server answers" in done.stderr
    assert len(read_runs(root, RunRecord)[0]) == 1
    assert {mine[0].id, mine[1].id} < row_ids(home / "prefect.db", "flow_run")
    later = json.loads(mnist("prune", "--keep", "1", "--json", "--root", root).stdout)
    assert (later["runs"], later["history"]) == ([], {"flow_runs": 1, "left": 0, "why": ""})
    assert row_ids(home / "prefect.db", "flow_run") == {mine[1].id, last.id, *(one.id for one in others)}


def test_the_users_server_is_asked_with_its_credential(home: Path, root: Path) -> None:
    with serving(home, root, options=["--no-worker"]) as up, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{up.port}/api")
        patch.setenv("PREFECT_API_AUTH_STRING", up.credential)
        refresh_global_settings_context()
        mine, other = ours(), theirs()
        assert mine.at == f"http://127.0.0.1:{up.port}/api"
        with get_client(sync_client=True) as client:
            half = client.create_flow_run(ours)
        assert half.flow_id == mine.flow
        waiting = mine.model_copy(update={"id": half.id})
        elsewhere = FlowRun(id=UUID(int=1), flow=UUID(int=2), at="http://other.example/api", root="/root")
        gone = mine.model_copy(update={"id": UUID(int=3)})
        add_pending_flow_runs(root, {mine, waiting, elsewhere, gone})
        found = flow_run_history.clear_history(root)
        assert (found.flow_runs, found.left) == (1, 2)
        assert "not finished" in found.why
        assert "http://other.example/api" in found.why
        assert pending_flow_runs(root) == {waiting, elsewhere}
        late = ours()
        # Without the server's address, the database is the same, and the server keeps running.
        patch.delenv("PREFECT_API_URL")
        patch.delenv("PREFECT_API_AUTH_STRING")
        refresh_global_settings_context()
        add_pending_flow_runs(root, {late})
        assert flow_run_history.clear_history(root).flow_runs == 1
        assert up.api.ask("flow_runs/count") == 2
    assert row_ids(home / "prefect.db", "flow_run") == {half.id, other.id}
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        for table in ("log", "artifact", "task_run"):
            left = {one for (one,) in database.execute(f"SELECT flow_run_id FROM {table}")}  # noqa: S608
            assert left == {str(other.id)}, table


def no_server() -> Any:
    raise AssertionError("a server was started")


def test_no_server_is_started_for_flow_runs_that_the_database_lacks(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_run_history, "local_server", no_server)
    assert flow_run_history.clear_history(root).flow_runs == 0
    here = FlowRun(
        id=UUID(int=1), flow=UUID(int=2), at=str(home / "prefect.db"), root="/root"
    )  # a database that was removed
    there = FlowRun(id=UUID(int=3), flow=UUID(int=2), at="http://other.example/api", root="/root")
    add_pending_flow_runs(root, {here, there})
    found = flow_run_history.clear_history(root)
    assert (found.flow_runs, found.left) == (0, 1)
    assert found.why == "set PREFECT_API_URL or PREFECT_HOME to the history that holds them: http://other.example/api"
    assert pending_flow_runs(root) == {there}


def test_rows_that_a_kill_left_behind_are_deleted_without_their_flow_run(remembered: History, root: Path) -> None:
    home, (mine, *_), (other, *_) = remembered
    add_pending_flow_runs(root, {mine})
    with start_server() as early, server(early) as api:
        api.wait()
        with get_client(sync_client=True) as client:
            flow_run_history.remove_flow_runs(client, [mine.id])  # a kill at this point
    assert flow_run_history.clear_history(root).left == 0
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        dump = "\n".join(database.iterdump())
    assert str(mine.id) not in dump
    assert str(other.id) in dump


def test_a_prune_that_is_interrupted_while_it_clears_the_history_ends_in_time_and_the_next_does_the_rest(
    remembered: History, root: Path, tmp_path: Path
) -> None:
    home, (mine, *_), _ = remembered
    add_pending_flow_runs(root, {mine})
    trial = Trial(["prune", "--keep", "1", "--root", str(root)])
    ended = signaled(trial, os.environ | {"MNIST_TRIAL": str(tmp_path)}, 2.5, signal.SIGINT, None)
    assert list(faults(trial, ended, signal.SIGINT, None, str(tmp_path))) == []
    assert mnist("prune", "--keep", "1", "--root", root).returncode == 0
    assert pending_flow_runs(root) == set()
    assert mine.id not in row_ids(home / "prefect.db", "flow_run")


def test_a_database_in_use_is_not_waited_for_to_shrink(remembered: History, root: Path) -> None:
    home, (mine, *_), _ = remembered
    add_pending_flow_runs(root, {mine})
    with closing(sqlite3.connect(home / "prefect.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM flow_run").fetchone()
        assert flow_run_history.clear_history(root).left == 0
