"""What a cycle asks in every run follows what changed, never the history: each question has an index made for it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event

from swapsync.store import cases, outbox, staging
from swapsync.store.db import Store
from swapsync.store.leases import Lease
from swapsync.store.outbox import Kind

NOW = datetime(2026, 3, 10, tzinfo=UTC)


def planned(connection: Connection, ask: Callable[[Connection], Any]) -> list[str]:
    """How SQLite goes about each table that is asked for."""
    asked: list[tuple[str, Any]] = []
    event.listen(
        connection,
        "before_cursor_execute",
        lambda _c, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    ask(connection)
    return [
        row[3]
        for statement, values in list(asked)
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    ]


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
    with store.transaction() as connection:
        plans = [plan for plan in planned(connection, ask) if "return_authorisation" in plan]
    assert plans
    assert all(any(f"INDEX {name} " in plan for name in index) for plan in plans), plans


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", [Kind.CREDIT, Kind.NOTE])
def test_what_is_due_and_what_it_waits_for_is_found_without_reading_what_was_sent(store: Store, kind: Kind) -> None:
    lease = Lease("default", "push", "host", 1)
    with store.transaction() as connection:
        plans = planned(connection, lambda c: outbox.claim(c, "default", kind, lease, NOW, NOW, 100))
    read = [plan for plan in plans if plan.startswith(("SCAN", "SEARCH"))]
    indexes = ("ix_outbox_due", "ix_outbox_open", "sqlite_autoindex_return_authorisation_1", "ux_exception_open")
    assert len(read) == 8
    assert all(any(f"INDEX {name} " in plan for name in indexes) for plan in read), read
