"""What a cycle asks in every run follows what changed, never the history: each question has an index made for it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event

from swapsync.store import cases, staging
from swapsync.store.db import Store

NOW = datetime(2026, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda c: staging.unseen_returns(c, "default", NOW, 20), {"ix_return_seen"}),
        (lambda c: staging.mark_overdue(c, "default", NOW), {"ix_return_delivered"}),
        (lambda c: staging.unlinked_returns(c, "default", recheck=20), {"ix_return_order"}),
        (lambda c: staging.orders_to_read(c, "default"), {"ix_return_dirty"}),
        (lambda c: staging.customers_to_read(c, "default"), {"ix_return_dirty"}),
        (lambda c: cases.undecided(c, "default", 300), {"ix_return_dirty", "ix_return_order"}),
    ],
)
def test_a_question_of_every_run_is_answered_by_the_index_made_for_it(
    store: Store, ask: Callable[[Connection], Any], index: set[str]
) -> None:
    asked: list[tuple[str, Any]] = []
    with store.transaction() as connection:
        event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _cursor, statement, values, *_: asked.append((statement, values)),
        )
        ask(connection)
        plans = [
            row[3]
            for statement, values in list(asked)
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            if "return_authorisation" in row[3]
        ]
    assert plans
    assert all(any(f"INDEX {name} " in plan for name in index) for plan in plans), plans
