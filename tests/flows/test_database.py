"""Prefect's database, made at once: as its own migrations leave it, and only where there is none."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import prefect
import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

from flows.database import IN_FILE, SCHEMA, make_database
from flows.server import local_server

Parts = dict[tuple[str, str], list[str]]


def parts(schema: str) -> Parts:
    """A schema by its tables and indices: migrations write their constraints in an order of chance."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema)
        found = database.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        version = database.execute("SELECT version_num FROM alembic_version").fetchall()
    return {(kind, name): sorted(line.strip(" \t,") for line in sql.splitlines()) for kind, name, sql in found} | {
        ("version", ""): [repr(version)]
    }


def test_the_schema_is_what_the_migrations_make() -> None:
    done = subprocess.run([sys.executable, "-m", "flows.database"], capture_output=True, text=True, check=True)
    made, kept = done.stdout, SCHEMA.read_text(encoding="utf-8")
    assert made.splitlines()[0] == kept.splitlines()[0], "write it anew: make lock"
    assert parts(made) == parts(kept), "write it anew: make lock"
    assert len(parts(kept)) > 100


def make_at(path: Path | str) -> bool:
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"{IN_FILE}{path}"}):
        return make_database()


def test_it_is_made_whole_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert make_at(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        database.execute("CREATE TABLE mark (id INTEGER)")
    before = path.read_bytes()
    assert make_at(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_version_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "__version__", "3.0.0")
    assert not make_at(tmp_path / "prefect.db")
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_to_be_migrated_is_not_taken_for_one_that_is(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert make_at(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '1'")
    assert not make_at(path)
    (tmp_path / "empty.db").touch()
    assert not make_at(tmp_path / "empty.db")
    (tmp_path / "other.db").write_text("no database, but as long as the header of one would have to be, or longer")
    assert not make_at(tmp_path / "other.db")


def test_what_is_no_file_is_left_to_prefect(tmp_path: Path) -> None:
    assert not make_at(":memory:")
    assert not make_at(f"{tmp_path}/prefect.db?cache=shared")
    assert not make_at(tmp_path / "missing" / "prefect.db")
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: "postgresql+asyncpg://user:word@localhost/prefect"}):
        assert not make_database()
    assert not list(tmp_path.iterdir())


def test_a_server_makes_it_and_leaves_the_blocks_to_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with local_server() as api:
        api.wait()
    assert {path.name for path in tmp_path.iterdir()} & {"prefect.db", "memo_store.toml"} == {"prefect.db"}
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as database:
        made = parts("\n".join(database.iterdump()))
    assert made == parts(SCHEMA.read_text(encoding="utf-8"))
