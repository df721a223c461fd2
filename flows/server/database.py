"""Prefect's SQLite database as a file: its creation from a template, and reads and removals without the API.

A copy of the template replaces all of Prefect's migrations. `python -m flows.server.database`, a part of the set-up,
makes the template for the installed version with Prefect's public command `prefect server database upgrade`. If there
is no template, or if the database is not a SQLite file, Prefect runs its migrations.

Prefect's API can't remove the events of a flow run, which are half of what a run leaves in the database. This module
removes them.
"""
# ruff: noqa: PLC0415  # late imports: importing this module must stay cheap

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from uuid import UUID

from flows.processes.console import exit_with_one_line
from tasks.filesystem.exclusive_name import claim_name

IN_FILE = "sqlite+aiosqlite:///"
_BUSY_SECONDS = 10.0  # limit of the wait for servers that write to the same database

# The events of a flow run's states, its task runs and its artifacts. Other events that name the flow run, such as those
# of an automation, stay.
_EVENTS = """
CREATE TEMPORARY TABLE their_events AS
SELECT DISTINCT events.id FROM gone
JOIN event_resources ON event_resources.resource_id = 'prefect.flow-run.' || gone.id
JOIN events ON events.id = event_resources.event_id
WHERE events.resource_id = event_resources.resource_id
OR (
    event_resources.resource_role = 'flow-run'
    AND (events.resource_id GLOB 'prefect.task-run.*' OR events.resource_id GLOB 'prefect.artifact*')
)
"""
_REMOVALS = (
    "DELETE FROM log WHERE flow_run_id IN (SELECT id FROM gone)",
    "DELETE FROM event_resources WHERE event_id IN (SELECT id FROM their_events)",
    "DELETE FROM events WHERE id IN (SELECT id FROM their_events)",
)


def make_database() -> bool:
    """Copy the template to the path of Prefect's SQLite database if that file is missing; concurrent calls are safe.

    Returns:
        True if the database exists and needs no migration.
    """
    path, template = database_file(), template_file()
    if path is None or not template.exists():
        return False
    if not path.exists():
        # If the folder can't be written, the later error of Prefect says more.
        with suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent, prefix=".mnist-") as folder:
            copy = Path(folder) / path.name
            copy.touch(mode=0o600)  # only the owner may read the history of runs
            shutil.copyfile(template, copy)
            claim_name(copy, path, path.with_name(f".{path.name}.lock"))
    return schema_revision(path) == schema_revision(template) is not None


def database_file() -> Path | None:
    """Return the path of a local server's database; None if the database is not a file."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    url = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    name = url.removeprefix(IN_FILE)
    return Path(name) if name not in {url, "", ":memory:"} and "?" not in name else None


def template_file() -> Path:
    """Return the path of the template for the installed version of Prefect; the file may be missing."""
    import prefect

    return Path(sys.prefix, "share", "mnist-error-analysis", f"prefect-{prefect.__version__}.db")


def schema_revision(path: Path) -> str | None:
    """Return the migration that a database has reached; None if the file is not a Prefect database."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        ((revision,),) = database.execute("SELECT version_num FROM alembic_version")
        return str(revision)
    return None


def row_ids(path: Path, table: str) -> set[UUID]:
    """Return the ids of the rows of a table, such as `flow`; an empty set if there is no database.

    Raises:
        sqlite3.Error: If the database can't be read or has no such table.
    """
    if not path.exists():
        return set()
    # A read-write connection, even if it writes nothing, removes the files of the write-ahead log when it closes.
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
        return {UUID(one) for (one,) in database.execute(f"SELECT id FROM {table}")}  # noqa: S608  # a constant


def may_have_automations() -> bool:
    """Return whether Prefect's database contains automations or can't be read."""
    file = database_file()
    try:
        return file is None or bool(row_ids(file, "automation"))
    except sqlite3.Error:
        return True


def remove_events_and_logs(path: Path, flow_runs: Iterable[UUID]) -> None:
    """Remove the events and last logs of flow runs that the database no longer contains, and free the space.

    Raises:
        sqlite3.Error: If the database can't be read or written.
    """
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as database:
        database.execute("CREATE TEMPORARY TABLE gone (id PRIMARY KEY)")
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO gone VALUES (?)", [(str(one),) for one in flow_runs])
        database.execute("DELETE FROM gone WHERE id IN (SELECT id FROM flow_run)")
        database.execute(_EVENTS)
        for statement in _REMOVALS:
            database.execute(statement)
        database.execute("COMMIT")
        # If a server keeps the database busy or the disk is full, the free pages stay for later runs.
        with suppress(sqlite3.OperationalError):
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _write_template() -> None:
    """Create the template for the installed version of Prefect if it is missing."""
    template = template_file()
    if template.exists():
        return
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        made = Path(folder) / "prefect.db"
        # The user's settings must not be used, and the user's database must not be migrated.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        env |= {"PREFECT_HOME": folder, "PREFECT_API_DATABASE_CONNECTION_URL": f"{IN_FILE}{made}"}
        command = [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "--yes"]
        subprocess.run(command, env=env, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # fixed arguments
        whole = Path(folder) / template.name
        with closing(sqlite3.connect(made)) as database:
            # A single file without a write-ahead log can be read from a read-only folder.
            database.execute("VACUUM INTO ?", (str(whole),))
        whole.replace(template)


if __name__ == "__main__":
    with exit_with_one_line():
        _write_template()
