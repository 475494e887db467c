"""The circuit breaker, and a worker that is stopping: what is not called any more, until when, and why."""

import pytest

from swapsync.connectors.breaker import OPENS_AFTER, Breaker
from swapsync.connectors.errors import Unreachable
from swapsync.jobs.cycle import JOBS, run_job
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store.outbox import outbox
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, credited, sold


def opened(clock: FixedClock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(OPENS_AFTER):
        assert breaker.refusal() is None
        breaker.note("answered 503")
    return breaker


def test_it_opens_after_so_many_failures_in_a_row_and_says_until_when_and_why(clock: FixedClock) -> None:
    refusal = opened(clock).refusal()
    assert refusal == f"not called before 2026-03-10T12:01:00Z, after {OPENS_AFTER} attempts in a row failed; " + (
        "the last one: answered 503"
    )


def test_one_proper_answer_in_between_begins_the_count_anew(clock: FixedClock) -> None:
    breaker = Breaker(clock)
    for _ in range(3):
        for _ in range(OPENS_AFTER - 1):
            breaker.note("lost")
        breaker.note(None)
    assert breaker.refusal() is None


def test_after_the_pause_one_attempt_probes_and_its_outcome_decides(clock: FixedClock) -> None:
    breaker = opened(clock)
    clock.forward(seconds=60)
    assert breaker.refusal() is None
    assert breaker.refusal(), "a second one waits for what comes of the probe"
    breaker.note("answered 503")
    clock.forward(seconds=59)
    assert breaker.refusal()
    clock.forward(seconds=1)
    assert breaker.refusal() is None
    breaker.note(None)
    assert [breaker.refusal() for _ in range(3)] == [None] * 3


def test_a_clock_that_is_set_back_keeps_it_open_no_longer(clock: FixedClock) -> None:
    breaker = opened(clock)
    clock.forward(hours=-2)
    assert breaker.refusal() is None
    assert breaker.refusal()


def test_a_system_that_is_down_is_called_no_more_for_a_while_and_found_again_when_it_is_back(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    sold(world)
    approved(world)
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    world.faults.add(Fault(kind="status", side="sparklayer", status=503, times=None))
    while "not called before" not in (run(place, "poll_orders")["poll_orders"].error or ""):
        assert len(world.exchanges) < 100
    calls = len(world.exchanges)

    record = run(place, "push_credits")["push_credits"]
    assert (record.status, len(world.exchanges)) == ("failed", calls)
    assert record.error
    assert record.error.startswith("SparkLayer: not called before ")
    with place.store.reading() as connection:
        effect = connection.execute(outbox.select().where(outbox.c.kind == "credit")).one()
    assert (effect.state, effect.attempts) == ("pending", 0), "it costs an effect no attempt"
    assert run(place, "poll_returns")["poll_returns"].status == "ok", "the other side has its own breaker"

    world.faults.clear()
    clock.forward(hours=2)  # the token has run out meanwhile
    assert run(place, "push_credits")["push_credits"].status == "ok"
    assert credited(world) == ["-48.00"]


def test_to_be_told_to_wait_does_not_open_it(desk: Desk, world: World) -> None:
    place = desk(http_max_attempts=str(2 * OPENS_AFTER))
    world.faults.add(Fault(kind="status", side="swap", status=429, times=OPENS_AFTER + 1))
    assert run(place, "poll_returns")["poll_returns"].status == "ok"


def test_a_worker_that_is_stopping_makes_no_further_call_and_leaves_nothing_in_doubt(desk: Desk, world: World) -> None:
    sold(world)
    approved(world)
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    calls = len(world.exchanges)
    place.hand_back()

    assert run(place) == {}, "nothing is begun any more"
    records = {job: run_job(place, job, JOBS[job]) for job in JOBS}  # what had been begun before
    assert len(world.exchanges) == calls
    assert records["push_credits"].error
    assert "this worker is stopping; the next run goes on from here" in records["push_credits"].error
    with place.store.reading() as connection:
        assert {row.state for row in connection.execute(outbox.select())} == {"pending"}
    with pytest.raises(Unreachable, match="stopping"):
        place.swap.returns_page(page=1)

    run(desk())
    assert credited(world) == ["-48.00"]
