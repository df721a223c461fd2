"""Database: Prefect's own on this machine, made at once where there is none, instead of by all migrations since its beginning.

In: `prefect.sql`, the schema as those migrations leave it, for one version of Prefect. Out: a SQLite file. Of another version,
or elsewhere than in a file, Prefect makes its database itself. As a module, this prints the schema of the installed version.
"""
# ruff: noqa: PLC0415  # whoever only imports this needs neither

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

IN_FILE = "sqlite+aiosqlite:///"
SCHEMA = Path(__file__).with_name("prefect.sql")


def make_database() -> bool:
    """Make Prefect's database where it is a SQLite file that is not there yet; two may try at once.

    Returns:
        Whether it is there, as all migrations leave it.
    """
    import prefect

    path = file_of_database()
    if path is None:
        return False
    version, schema = SCHEMA.read_text(encoding="utf-8").split("\n", maxsplit=1)
    if version != headline(prefect.__version__):
        return False
    if not path.exists():
        # Of an error, Prefect will say more.
        with suppress(OSError), tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            with closing(sqlite3.connect(made)) as database:
                database.executescript(schema)
            made.chmod(0o644)  # as SQLite leaves it where Prefect makes it
            os.link(made, path)
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        ((revision,),) = database.execute("SELECT version_num FROM alembic_version")
        return f"""INSERT INTO "alembic_version" VALUES('{revision}');""" in schema
    return False


def file_of_database() -> Path | None:
    """Where the database of a local server lies; None if it is no file."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    url = PREFECT_API_DATABASE_CONNECTION_URL.value() or ""
    name = url.removeprefix(IN_FILE)
    return Path(name) if name not in {url, "", ":memory:"} and "?" not in name else None


def headline(version: str) -> str:
    """The first line of a schema, which says whose it is."""
    return f"-- Prefect {version}"


def migrated(folder: Path) -> str:
    """The schema as the migrations of the installed version leave it, in a folder of its own."""
    import prefect
    from prefect.server.database import provide_database_interface
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

    path = folder / "prefect.db"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: f"{IN_FILE}{path}"}):
        asyncio.run(provide_database_interface().create_db())
    with closing(sqlite3.connect(path)) as database:
        return "\n".join([headline(prefect.__version__), *database.iterdump()]) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(migrated(Path(temporary)), end="")  # noqa: T201
