"""Claims on the outbox: each effect has one sender, and one order's effects keep their order (on both databases)."""

import threading
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from swapsync.store import leases, outbox
from swapsync.store.db import Store
from swapsync.store.leases import LEASE, Lease, LostLease
from swapsync.store.outbox import Effect, Kind
from swapsync.store.tables import ReturnRow
from tests.conftest import FixedClock
from tests.workers import take


def worker(store: Store, clock: FixedClock, name: str) -> Lease:
    lease = take(store, clock, name, "host")
    assert lease
    return lease


def record(store: Store, clock: FixedClock, kind: Kind, orders: Iterable[str]) -> None:
    with store.transaction() as connection:
        outbox.enqueue(
            connection,
            "default",
            [Effect(kind, f"{kind}:{n}:{order}", "somewhere", {}, order) for n, order in enumerate(orders)],
            clock.now(),
        )


def claim(store: Store, clock: FixedClock, lease: Lease, kind: Kind = Kind.NOTE, limit: int = 100) -> list[Any]:
    with store.transaction() as connection:
        now = store.now(connection, clock)
        return outbox.claim(connection, "default", kind, lease, clock.now(), now, limit)


def sent(store: Store, clock: FixedClock, rows: Iterable[Any]) -> None:
    with store.transaction() as connection:
        outbox.mark_sent(connection, [row.id for row in rows], clock.now())


def test_what_one_worker_claimed_another_does_not_get(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "ABCDE")
    first, second = worker(store, clock, "one"), worker(store, clock, "two")
    assert [row.order_id for row in claim(store, clock, first, limit=3)] == ["A", "B", "C"]
    assert [row.order_id for row in claim(store, clock, second)] == ["D", "E"]
    assert claim(store, clock, first) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_just_being_claimed_is_passed_over_at_once_and_waits_for_nobody(
    store: Store, clock: FixedClock
) -> None:
    record(store, clock, Kind.NOTE, "ABCDE")
    first, second = worker(store, clock, "one"), worker(store, clock, "two")
    with store.transaction() as connection:
        now = store.now(connection, clock)
        outbox.claim(connection, "default", Kind.NOTE, first, clock.now(), now, 3)
        with store.transaction() as meanwhile:
            meanwhile.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            claimed = outbox.claim(meanwhile, "default", Kind.NOTE, second, clock.now(), now, 100)
    assert [row.order_id for row in claimed] == ["D", "E"]


def test_of_one_order_only_the_first_open_effect_is_given_out_whoever_asks(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "AAAB")
    first, second = worker(store, clock, "one"), worker(store, clock, "two")
    [a, b] = claim(store, clock, first)
    assert (a.effect_key, b.effect_key) == ("note:0:A", "note:3:B")
    assert claim(store, clock, second) == []
    sent(store, clock, [a])
    assert [row.effect_key for row in claim(store, clock, second)] == ["note:1:A"]


def test_an_orders_effect_waits_for_the_one_before_it_that_was_put_off(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "AA")
    lease = worker(store, clock, "one")
    with store.transaction() as connection:
        [row] = outbox.claim(connection, "default", Kind.NOTE, lease, clock.now(), clock.now(), 9)
        outbox.postpone(connection, row, "busy", clock.now(), state="pending")
    assert claim(store, clock, worker(store, clock, "two")) == []


def test_notes_wait_for_earlier_credits_of_their_order_and_credits_wait_for_no_note(
    store: Store, clock: FixedClock
) -> None:
    record(store, clock, Kind.NOTE, "A")
    record(store, clock, Kind.CREDIT, "AB")
    record(store, clock, Kind.NOTE, ["", "B"])
    lease = worker(store, clock, "one")
    assert [row.effect_key for row in claim(store, clock, lease)] == ["note:0:A", "note:0:"]
    credits = claim(store, clock, lease, Kind.CREDIT)
    assert [row.order_id for row in credits] == ["A", "B"]
    sent(store, clock, credits)
    assert [row.effect_key for row in claim(store, clock, lease)] == ["note:1:B"]


def test_a_credit_whose_return_is_not_decided_on_again_is_passed_over_and_holds_up_nobody(
    store: Store, clock: FixedClock
) -> None:
    credits = [Effect(Kind.CREDIT, f"swap:{ret}:credit:1", "#5001", {}, "A", ret) for ret in ("R1", "R2")]
    note = Effect(Kind.NOTE, "note", "#5001", {}, "A", "R2")
    undecided = ReturnRow(site="default", return_id="R1", submitted_at=clock.now(), updated_at=clock.now(), dirty=True)
    with store.transaction() as connection:
        outbox.enqueue(connection, "default", [*credits, note], clock.now())
        connection.execute(insert(outbox.returns).values(undecided.model_dump()))
    lease = worker(store, clock, "one")
    assert claim(store, clock, lease) == []
    [row] = claim(store, clock, lease, Kind.CREDIT)
    assert row.return_id == "R2"
    sent(store, clock, [row])
    assert [row.effect_key for row in claim(store, clock, lease)] == ["note"]


def test_a_dead_workers_claims_are_taken_over_when_its_lease_is_over(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "A")
    dead, other = worker(store, clock, "one"), worker(store, clock, "two")
    assert len(claim(store, clock, dead)) == 1
    clock.moment += LEASE - timedelta(seconds=5)
    assert claim(store, clock, other) == []
    clock.forward(seconds=6)
    assert len(claim(store, clock, other)) == 1


def test_a_worker_that_gives_its_lease_back_frees_what_it_did_not_deliver(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "A")
    lease = worker(store, clock, "one")
    with leases.kept(store, clock, lease):
        claim(store, clock, lease)
    assert len(claim(store, clock, worker(store, clock, "two"))) == 1


def test_a_late_worker_can_note_nothing_about_what_another_claimed_since(store: Store, clock: FixedClock) -> None:
    record(store, clock, Kind.NOTE, "A")
    late, other = worker(store, clock, "one"), worker(store, clock, "two")
    [row] = claim(store, clock, late)
    clock.moment += LEASE + timedelta(seconds=1)
    claim(store, clock, other)
    with store.transaction() as connection:
        outbox.verify_claims(connection, [row.id], other)
        with pytest.raises(LostLease):
            outbox.verify_claims(connection, [row.id], late)


def test_many_workers_at_once_share_a_backlog_each_effect_once_and_each_order_in_its_order(
    store: Store, clock: FixedClock
) -> None:
    record(store, clock, Kind.NOTE, [f"order {n % 15}" for n in range(60)])
    delivered: list[tuple[str, int]] = []
    note = threading.Lock()

    def work(lease: Lease) -> None:
        while True:
            rows = claim(store, clock, lease, limit=2)
            with store.reading() as connection:
                left = connection.execute(
                    select(outbox.outbox.c.id).where(outbox.is_open(outbox.outbox)).limit(1)
                ).scalar()
            if not rows and left is None:
                return
            with note:
                delivered.extend((row.order_id, row.id) for row in rows)
            sent(store, clock, rows)

    workers = [threading.Thread(target=work, args=(worker(store, clock, f"{n}"),)) for n in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()

    assert set(Counter(delivered).values()) == {1}
    assert len(delivered) == 60
    for order in {order for order, _ in delivered}:
        ids = [id_ for of, id_ in delivered if of == order]
        assert ids == sorted(ids)


@pytest.mark.parametrize(("given_before", "becomes"), [(False, "withdrawn"), (True, "pending")])
def test_a_credit_that_any_worker_was_given_and_did_not_hand_back_may_be_out_and_is_not_withdrawn(
    store: Store, clock: FixedClock, given_before: bool, becomes: str
) -> None:
    credit = Effect(Kind.CREDIT, "swap:ret-1:credit:1", "#5001", {}, "A", "ret-1")
    with store.transaction() as connection:
        outbox.enqueue(connection, "default", [credit], clock.now())
    if given_before:
        claim(store, clock, worker(store, clock, "dies"), Kind.CREDIT)
        clock.forward(hours=1)
    [row] = claim(store, clock, worker(store, clock, "finds the other side down"), Kind.CREDIT)
    clock.forward(hours=1)

    def state_after_withdrawing() -> str | None:
        with store.transaction() as connection:
            outbox.withdraw_credits(connection, "default", "ret-1")
            return connection.execute(select(outbox.outbox.c.state)).scalar()

    assert state_after_withdrawing() == "pending"
    with store.transaction() as connection:
        outbox.hand_back(connection, [row])
    assert state_after_withdrawing() == becomes


def test_a_retry_begins_anew_and_brings_nothing_back_that_was_sent_or_withdrawn(
    store: Store, clock: FixedClock
) -> None:
    record(store, clock, Kind.NOTE, "ABCD")
    table = outbox.outbox
    with store.transaction() as connection:
        for id_, state in enumerate(("failed", "sent", "withdrawn", "in_doubt"), start=1):
            connection.execute(table.update().where(table.c.id == id_).values(state=state, attempts=10))
        assert outbox.retry(connection, "default", [1, 2, 3, 4], clock.now()) == [1, 4]
        after = connection.execute(select(table.c.state, table.c.attempts).order_by(table.c.id)).all()
    assert [tuple(row) for row in after] == [("pending", 0), ("sent", 10), ("withdrawn", 10), ("in_doubt", 10)]


def test_a_retry_puts_nothing_off_even_where_the_clock_of_who_asks_is_ahead_of_the_workers(
    store: Store, clock: FixedClock
) -> None:
    record(store, clock, Kind.NOTE, "AB")
    table = outbox.outbox
    with store.transaction() as connection:
        later = clock.now() + timedelta(hours=1)
        connection.execute(table.update().where(table.c.id == 2).values(next_attempt_at=later))
        outbox.retry(connection, "default", [1, 2], clock.now() + timedelta(minutes=10))
        after = connection.execute(select(table.c.next_attempt_at).order_by(table.c.id)).scalars().all()
    assert [moment - clock.now() for moment in after] == [timedelta(), timedelta(minutes=10)]
