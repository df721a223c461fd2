"""Test that transactions of Prefect's server do not fail if its SQLite database is busy, and how other errors are logged."""

import asyncio
import logging
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy
from prefect.server.database.configurations import AioSqliteConfiguration

from flows.processes.log_filters import shorten_database_errors
from flows.processes.prefect_compat import lock_database_before_reading

READ, WRITE = "SELECT id FROM state", "INSERT INTO state VALUES (2)"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "prefect.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")  # as in Prefect's database
        connection.execute("CREATE TABLE state (id)")
    return path


async def read_then_write(database: Path) -> None:
    """Read and write in one transaction of Prefect's, while another connection writes and another session reads."""
    config = AioSqliteConfiguration(f"sqlite+aiosqlite:///{database}")
    engine = await config.engine()
    async with await config.session(engine) as session, config.begin_transaction(session):
        await session.execute(sqlalchemy.text(READ))
        with closing(sqlite3.connect(database, timeout=0)) as other, suppress(sqlite3.OperationalError), other:
            other.execute(WRITE)
        async with await config.session(engine) as second:
            await second.execute(sqlalchemy.text(READ))
        await session.execute(sqlalchemy.text(WRITE))
    await engine.dispose()


def test_prefect_itself_fails_if_another_connection_writes_after_a_transaction_has_read(database: Path) -> None:
    with pytest.raises(sqlalchemy.exc.OperationalError, match="database is locked"):
        asyncio.run(read_then_write(database))


def test_a_transaction_locks_the_database_before_it_reads(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AioSqliteConfiguration, "begin_transaction", AioSqliteConfiguration.begin_transaction)
    lock_database_before_reading()
    asyncio.run(read_then_write(database))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM state").fetchone() == (1,)


@pytest.mark.parametrize(("reason", "is_short"), [("database is locked", True), ("no such table: state", False)])
def test_only_the_error_of_a_busy_database_is_logged_in_one_line(
    reason: str, is_short: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.getLogger("prefect.server.test")
    monkeypatch.setattr(logger, "handlers", [handler])
    shorten_database_errors()
    try:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception()) from sqlite3.OperationalError(reason)
    except sqlalchemy.exc.OperationalError:
        logger.exception("Encountered error during state validation")
    handler.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines == ["Encountered error during state validation: the database is busy; trying again"]) is is_short
    assert ("Traceback (most recent call last):" in lines) is not is_short
