"""Test the copy of the template database: it is complete and private, and is made only if there is no database."""

import os
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import prefect
import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

from flows.server.database import IN_FILE, make_database, may_have_automations, schema_revision, template_file
from flows.server.local_server import local_server
from tests.support.serving import MNIST, free_port


def make_at(path: Path | str) -> bool:
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"{IN_FILE}{path}"}):
        return make_database()


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}


def test_the_setup_has_made_the_template_with_all_tables_and_no_row() -> None:
    assert len(tables(template_file())) > 100
    with closing(sqlite3.connect(template_file())) as database:
        for name in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            ((rows,),) = database.execute(f'SELECT count(*) FROM "{name[0]}"')  # noqa: S608  # names from the database
            assert rows == (1 if name[0] == "alembic_version" else 0), name


def test_the_template_is_one_file_that_needs_no_writable_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    copy = shutil.copy(template_file(), folder)
    folder.chmod(0o500)
    assert schema_revision(Path(copy)) == schema_revision(template_file()) is not None
    assert list(folder.iterdir()) == [Path(copy)]


def test_the_database_is_copied_whole_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert make_at(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        database.execute("CREATE TABLE mark (id INTEGER)")
    before = path.read_bytes()
    assert make_at(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_database_is_private(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        assert make_at(tmp_path / "prefect.db")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "prefect.db").stat().st_mode) == 0o600


def test_another_version_of_prefect_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect, "__version__", "3.0.0")
    assert not make_at(tmp_path / "prefect.db")
    assert not list(tmp_path.iterdir())


def test_a_database_that_needs_a_migration_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"
    assert make_at(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '1'")
    assert not make_at(path)
    (tmp_path / "empty.db").touch()
    assert not make_at(tmp_path / "empty.db")
    (tmp_path / "other.db").write_text("no database, but as long as the header of one would have to be, or longer")
    assert not make_at(tmp_path / "other.db")


def test_a_database_that_is_no_file_is_left_to_prefect(tmp_path: Path) -> None:
    assert not make_at(":memory:")
    assert not make_at(f"{tmp_path}/prefect.db?cache=shared")
    assert not make_at(tmp_path / "missing" / "prefect.db")
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: "postgresql+asyncpg://user:word@localhost/prefect"}):
        assert not make_database()
    assert not list(tmp_path.iterdir())


def test_automations_are_found_or_assumed(tmp_path: Path) -> None:
    path = tmp_path / "prefect.db"

    def found() -> bool:
        with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"{IN_FILE}{path}"}):
            return may_have_automations()

    assert not found()  # no database
    assert make_at(path)
    assert not found()
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO automation (id, name, description, enabled, trigger, actions, actions_on_trigger, actions_on_resolve, "
            "created, updated) VALUES ('6a889e4ad72c45e98b75f32693959a4f', 'mine', '', 1, '{}', '[]', '[]', '[]', '', '')"
        )
        database.commit()
    assert found()
    path.write_bytes(b"no database at all, " * 100)
    assert found()
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: "postgresql+asyncpg://127.0.0.1/prefect"}):
        assert may_have_automations()


def test_a_server_copies_the_template_and_leaves_the_blocks_to_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with local_server() as api:
        api.wait()
    assert {path.name for path in tmp_path.iterdir()} & {"prefect.db", "memo_store.toml"} == {"prefect.db"}
    assert tables(tmp_path / "prefect.db") == tables(template_file())


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no address", "PREFECT_API_DATABASE_CONNECTION_URL is not the address of a database"),
        ("sqlite+aiosqlite:////proc/version", "(sqlite3.OperationalError) unable to open database file"),
        ("postgresql+asyncpg://me:t0ps3cret@127.0.0.1:1/prefect", "Connect call failed"),
    ],
)
def test_serve_names_the_reason_why_a_database_cannot_be_used(tmp_path: Path, address: str, reason: str) -> None:
    env = os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_DATABASE_CONNECTION_URL": address}
    command = [MNIST, "serve", "--no-worker", "--port", str(free_port()), "--root", tmp_path / "root"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "PREFECT_API_DATABASE_CONNECTION_URL" in done.stderr
    assert done.stderr.rstrip().endswith("did not start; its messages are above")
    assert "Traceback" not in done.stderr
    assert "t0ps3cret" not in done.stderr
