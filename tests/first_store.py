"""A store as version 0001 left it, for what must lose nothing of it.

``tests/data/store_0001.json`` holds every table of a store that version 0001 filled: RMA-1 credited and restocked,
RMA-2 credited, RMA-3 with an alias taught, RMA-4 decided and its credit not yet delivered.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlmodel import SQLModel

from swapsync.store import db
from swapsync.store.db import Store
from swapsync.store.tables import UtcDateTime

FIRST = orjson.loads((Path(__file__).parent / "data" / "store_0001.json").read_bytes())
MIGRATIONS = Path(db.__file__).parent / "migrations"


def first_store(url: str) -> Store:
    """Makes a store of schema 0001 of an empty database, and fills it."""
    store = Store(url)
    _migrate(store, "0001")
    with store.transaction() as connection:
        for name, rows in FIRST.items():
            types = {column.name: column.type for column in SQLModel.metadata.tables[name].columns}
            table = sa.table(name, *(sa.column(column, types[column]) for column in rows[0]))
            connection.execute(table.insert(), [{k: _read(types[k], v) for k, v in row.items()} for row in rows])
            if "id" in rows[0] and not store.is_sqlite:
                connection.execute(
                    sa.text(f"SELECT setval(pg_get_serial_sequence('\"{name}\"', 'id'), max(id)) FROM \"{name}\"")
                )
    return store


def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables that 0001 had, in the columns that it had."""
    with store.reading() as connection:
        return {
            name: [
                dict(row._mapping)
                for row in connection.execute(
                    sa.select(*(sa.column(column) for column in rows[0]))
                    .select_from(sa.table(name))
                    .order_by(*(sa.column(key.name) for key in SQLModel.metadata.tables[name].primary_key))
                )
            ]
            for name, rows in FIRST.items()
        }


def _migrate(store: Store, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _read(kind: Any, value: Any) -> Any:
    """A value of the file, which is as SQLite keeps it, as Python has it."""
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(kind, sa.JSON):
        return orjson.loads(value)
    return bool(value) if isinstance(kind, sa.Boolean) else value
