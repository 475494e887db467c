"""The database's own helpers, on both databases."""

from datetime import UTC, datetime
from typing import Any

from swapsync.store.db import Store, insert_new
from swapsync.store.tables import Watermark


def test_what_is_inserted_is_counted_and_what_stands_already_is_not(store: Store) -> None:
    def row(stream: str) -> dict[str, Any]:
        return {"site": "default", "stream": stream, "position": datetime(2026, 3, 1, tzinfo=UTC)}

    with store.transaction() as connection:
        assert insert_new(connection, Watermark, [row("a")]) == 1
        assert insert_new(connection, Watermark, [row("a")]) == 0
        assert insert_new(connection, Watermark, [row("a"), row("b"), row("c")]) == 2
