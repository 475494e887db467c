"""Leases: one holder at a time, freed by death, and a late completion is refused (on both databases)."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from swapsync.clock import Clock
from swapsync.jobs.cycle import JOBS, run_job
from swapsync.jobs.workplace import JobError, Tally, Workplace
from swapsync.sandbox.world import World
from swapsync.store import leases, runs
from swapsync.store.db import Store
from swapsync.store.leases import LEASE, LostLease
from swapsync.store.outbox import GRACE, outbox
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, credited, sold
from tests.workers import another_worker_at, take

LONG_GONE = LEASE + timedelta(seconds=1)
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def tokens(store: Store) -> list[int]:
    with store.reading() as connection:
        return list(connection.execute(select(leases.leases.c.token)).scalars())


def test_of_two_workers_one_has_the_lease_and_the_other_gets_it_when_it_is_given_back(
    store: Store, clock: FixedClock
) -> None:
    with another_worker_at(store, clock, "push_credits"):
        assert take(store, clock, "push_credits", "B") is None
        assert take(store, clock, "push_status", "B")
        assert take(store, clock, "push_credits", "B", site="other site")
    assert take(store, clock, "push_credits", "B")


def test_a_worker_cannot_take_its_own_lease_a_second_time(store: Store, clock: FixedClock) -> None:
    assert take(store, clock, "push_credits", "A")
    assert take(store, clock, "push_credits", "A") is None


def test_a_dead_workers_lease_is_free_after_its_time_and_not_before(store: Store, clock: FixedClock) -> None:
    assert take(store, clock, "push_credits", "A")
    clock.moment += LEASE - timedelta(seconds=10)
    assert take(store, clock, "push_credits", "B") is None
    clock.forward(seconds=11)
    assert take(store, clock, "push_credits", "B")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_clock_that_is_set_back_locks_no_job(store: Store, clock: FixedClock) -> None:
    with another_worker_at(store, clock, "push_credits"):
        pass
    assert take(store, clock, "push_status", "A")
    clock.forward(hours=-5)
    assert take(store, clock, "push_credits", "B")
    assert take(store, clock, "push_status", "B")


def test_each_new_holder_has_a_greater_token_also_after_the_lease_was_given_back(
    store: Store, clock: FixedClock
) -> None:
    for expected in (1, 2):
        with another_worker_at(store, clock, "push_credits"):
            assert tokens(store) == [expected]
    clock.forward(hours=1)
    taken = take(store, clock, "push_credits", "C")
    assert taken
    assert taken.token == 3


def test_nothing_is_written_with_a_lease_that_another_worker_took_over(desk: Desk, clock: FixedClock) -> None:
    place, seen = desk(), []

    def slow(mine: Workplace, tally: Tally) -> None:
        with mine.writing() as connection:
            runs.move_watermark(connection, "default", "before", clock.now())
        clock.moment += LONG_GONE
        with mine.writing() as connection:
            runs.move_watermark(connection, "default", "unwanted", clock.now())
        assert take(place.store, clock, "slow", "B")
        with pytest.raises(LostLease):
            mine.require_lease()
        seen.append(tally)
        with mine.writing() as connection:
            runs.move_watermark(connection, "default", "after", clock.now())

    record = run_job(place, "slow", slow, "A")

    assert seen
    assert record.status == "failed"
    assert record.error
    assert record.error.startswith("another worker took over slow")
    with place.store.reading() as connection:
        assert set(connection.execute(select(runs.watermarks.c.stream)).scalars()) == {"before", "unwanted"}
    assert take(place.store, clock, "slow", "C") is None, "the late one gave back what was no longer its own"


def test_a_slow_workers_late_completion_changes_nothing_that_its_successor_did(
    desk: Desk, world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow one has sent its credit when it is taken for dead; the successor delivers and finishes before it."""
    sold(world)
    approved(world)
    slow, quick = desk(), desk()
    run(slow, "poll_returns", "poll_orders", "reconcile")
    send = slow.sparklayer.put_transaction
    successor: list[Any] = []

    def send_slowly(*args: Any, **kwargs: Any) -> None:
        send(*args, **kwargs)
        clock.moment += LONG_GONE
        successor.append(run_job(quick, "push_credits", JOBS["push_credits"], "B"))
        with quick.writing() as connection:
            connection.execute(outbox.update().where(outbox.c.kind == "credit").values(last_error="B was here"))

    monkeypatch.setattr(slow.sparklayer, "put_transaction", send_slowly)
    record = run_job(slow, "push_credits", JOBS["push_credits"], "A")

    assert [each.status for each in successor] == ["ok"]
    assert (record.status, record.sent) == ("failed", 0)
    assert record.error
    assert "another worker took over" in record.error
    assert credited(world) == ["-48.00"]
    with quick.store.reading() as connection:
        [row] = connection.execute(select(outbox).where(outbox.c.kind == "credit"))
        events = connection.exec_driver_sql("SELECT count(*) FROM event WHERE kind = 'credit_delivered'").scalar()
    assert (row.state, row.last_error, events) == ("sent", "B was here", 1)


def test_a_worker_that_is_taken_over_while_it_signs_in_writes_no_note_beside_its_successors(
    desk: Desk, world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sold(world)
    approved(world)
    slow, quick = desk(), desk()
    run(desk(), "poll_returns", "poll_orders", "reconcile", "push_credits")
    fetch = slow.sparklayer._tokens._fetch

    def fetch_slowly() -> tuple[str, int]:
        clock.moment += LONG_GONE + GRACE
        run_job(quick, "push_status", JOBS["push_status"], "B")
        return fetch()

    monkeypatch.setattr(slow.sparklayer._tokens, "_fetch", fetch_slowly)
    record = run_job(slow, "push_status", JOBS["push_status"], "A")

    assert (record.status, record.sent) == ("failed", 0)
    written = Counter(event["body"] for event in world.sparklayer.history("5001"))
    assert written
    assert set(written.values()) == {1}


def test_a_worker_that_was_taken_over_sends_nothing_more(
    desk: Desk, world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in ("5001", "5002"):
        sold(world, platform_id=number, visible=f"#{number}")
        approved(world, return_id=f"ret-{number}", rma_number=number, order_id=number, order_name=f"#{number}")
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    send = place.sparklayer.put_transaction

    def send_slowly(*args: Any, **kwargs: Any) -> None:
        send(*args, **kwargs)
        clock.moment += LONG_GONE
        assert take(place.store, clock, "push_credits", "B")

    monkeypatch.setattr(place.sparklayer, "put_transaction", send_slowly)
    run_job(place, "push_credits", JOBS["push_credits"], "A")

    assert len(world.calls("PUT", "/transactions")) == 1


def test_a_run_whose_worker_died_is_closed_by_the_one_that_takes_over(desk: Desk, clock: FixedClock) -> None:
    place = desk()

    def dies(mine: Workplace, tally: Tally) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(place, "reconcile", dies)
    run_job(place, "reconcile", lambda mine, tally: None)

    with place.store.reading() as connection:
        found = connection.execute(select(runs.runs.c.status, runs.runs.c.error).order_by(runs.runs.c.id)).all()
    assert [row.status for row in found] == ["failed", "ok"]
    assert found[0].error == runs.BROKEN_OFF


def test_a_job_that_fails_gives_its_lease_back(desk: Desk, clock: FixedClock) -> None:
    place = desk()

    def fails(mine: Workplace, tally: Tally) -> None:
        raise JobError("no")

    run_job(place, "reconcile", fails)
    assert take(place.store, clock, "reconcile", "B")


@only_postgresql
@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_host_with_a_wrong_clock_neither_steals_a_lease_nor_loses_its_own(
    store: Store, ahead: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(Clock):
        def now(self) -> Any:
            return super().now() + ahead

    assert take(store, Clock(), "push_credits", "a host whose clock is right")
    with monkeypatch.context() as host:
        host.setattr("swapsync.store.db.Clock", Wrong)
        assert take(store, Wrong(), "push_credits", "a host whose clock is wrong") is None
        assert take(store, Wrong(), "push_status", "a host whose clock is wrong")
    assert take(store, Clock(), "push_status", "a host whose clock is right") is None


def test_a_store_that_is_away_when_a_job_ends_leaves_the_lease_to_run_out(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take(store, clock, "push_credits", "A")
    assert lease
    with leases.kept(store, clock, lease):
        monkeypatch.setattr(store, "engine", create_engine("sqlite:////nowhere/at/all.db"))
    monkeypatch.undo()
    assert take(store, clock, "push_credits", "B") is None
    clock.moment += LONG_GONE
    assert take(store, clock, "push_credits", "B")
