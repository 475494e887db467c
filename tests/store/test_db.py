"""The database itself: its own helpers, on both databases, and how SQLite is set up."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from swapsync.store.db import Store, insert_new
from swapsync.store.tables import Watermark
from tests.rules.scenario import one_store_is_enough

FULL = 2


def test_what_is_inserted_is_counted_and_what_stands_already_is_not(store: Store) -> None:
    def row(stream: str) -> dict[str, Any]:
        return {"site": "default", "stream": stream, "position": datetime(2026, 3, 1, tzinfo=UTC)}

    with store.transaction() as connection:
        assert insert_new(connection, Watermark, [row("a")]) == 1
        assert insert_new(connection, Watermark, [row("a")]) == 0
        assert insert_new(connection, Watermark, [row("a"), row("b"), row("c")]) == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_committed_to_postgresql_survives_a_power_cut_whatever_its_default_is(store: Store) -> None:
    admin = create_engine(store.engine.url)
    with admin.connect() as plain:
        assert plain.scalar(text("SHOW synchronous_commit")) == "off", "the tests' server is in a hurry"
    admin.dispose()
    with store.transaction() as first, store.reading() as second:
        for connection in (first, second):
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"


@one_store_is_enough
def test_what_is_committed_to_sqlite_survives_a_power_cut_whatever_its_build_does_by_default(store: Store) -> None:
    store.close()
    event.listen(store.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"), insert=True)
    with store.transaction() as first, store.reading() as second:
        for connection in (first, second):
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == FULL
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
