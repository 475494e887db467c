"""Rule 10: one note on the order for each milestone of a return, written once."""

from typing import Any

import pytest

from swapsync.connectors.sparklayer import OrderRef
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store import outbox
from swapsync.store.outbox import Kind
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

ALL = ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:credited:1"]


def test_authorised_received_and_credited_each_once_as_they_come(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    seen = []

    for change in ({}, {"delivery_status": "Delivered"}, s.APPROVED | {"closed": None, "date_closed": None}):
        world.swap.change_return("R1", **{name: value for name, value in change.items() if name != "closed"})
        run(place)
        seen.append(s.tokens(world))
        clock.forward(minutes=5)

    assert seen == [ALL[:1], ALL[:2], ALL]


def test_a_note_carries_rma_number_token_and_author(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world)

    run(desk(sparklayer_created_by="returns desk"))

    (event,) = world.sparklayer.history("5001")
    assert (event["event_type"], event["created_by"]) == ("note", "returns desk")
    assert "RMA-1" in event["body"]
    assert event["body"].endswith("[swap:R1:authorised:1]")


def test_the_credited_note_carries_credit_note_number_amount_and_po_number(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    (note,) = s.documents(place)
    body = s.notes(world)[-1]
    assert all(part in body for part in (note.number, "48.00 GBP", "PO-77", "RMA-1", "[swap:R1:credited:1]"))


def test_nothing_is_noted_as_credited_before_it_stands_in_the_ledger(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=500, method="PUT", times=4))

    run(place)
    assert "swap:R1:credited:1" not in s.tokens(world)
    clock.forward(minutes=5)
    s.returned(world, **s.APPROVED, handling_fee=1, updated=clock.now())
    run(place)
    assert s.credits(world) == {}
    assert "swap:R1:credited:1" not in s.tokens(world)
    clock.forward(hours=1)
    run(place)

    assert s.tokens(world)[-1] == "swap:R1:credited:1"


@pytest.mark.parametrize(("status", "milestone"), [("Cancelled", "cancelled"), ("Expired", "expired")])
def test_a_return_that_is_called_off_is_noted(
    desk: Desk, world: World, clock: FixedClock, status: str, milestone: str
) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return("R1", return_status=status)
    run(place)

    assert s.tokens(world) == ["swap:R1:authorised:1", f"swap:R1:{milestone}:1"]


def test_a_return_that_was_called_off_before_we_first_saw_it_is_noted_too(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, return_status="Cancelled")

    run(desk())

    assert s.tokens(world) == ["swap:R1:cancelled:1"]


@pytest.mark.parametrize("kind", ["lost_reply_before", "lost_reply_after", "html"])
@pytest.mark.parametrize("after", [0, 2])
def test_after_a_lost_reply_the_token_is_looked_for_before_anything_is_written_again(
    desk: Desk, world: World, clock: FixedClock, kind: Any, after: int
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind=kind, method="POST", path_contains="/history", after=after))

    for _ in range(3):
        run(place)
        clock.forward(minutes=5)

    assert s.tokens(world) == ALL


def test_a_note_that_arrives_after_its_reply_was_lost_is_not_written_twice(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    world.faults.add(Fault(kind="lost_reply_before", method="POST", path_contains="/history"))
    run(place)
    clock.forward(seconds=3)
    run(place)
    assert (s.tokens(world), s.undelivered(place)) == ([], [("note", "in_doubt")])

    place.sparklayer.add_note(OrderRef("platform", "5001"), "late [swap:R1:authorised:1]")  # it was only slow
    clock.forward(minutes=2)
    run(place)
    assert (s.tokens(world), s.undelivered(place)) == (["swap:R1:authorised:1"], [])


def test_to_retry_what_is_in_doubt_does_not_make_the_look_come_too_early(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    world.faults.add(Fault(kind="lost_reply_before", method="POST", path_contains="/history"))
    run(place)
    clock.forward(seconds=3)
    with place.store.transaction() as connection:
        [row] = outbox.doubtful(connection, "default", Kind.NOTE)
        outbox.retry(connection, "default", [row.id], clock.now())
    run(place)
    assert (s.tokens(world), s.undelivered(place)) == ([], [("note", "in_doubt")])

    place.sparklayer.add_note(OrderRef("platform", "5001"), "late [swap:R1:authorised:1]")  # it was only slow
    clock.forward(minutes=2)
    run(place)
    assert (s.tokens(world), s.undelivered(place)) == (["swap:R1:authorised:1"], [])


def test_only_the_note_that_is_under_way_is_in_doubt_and_its_grace_counts_from_its_own_sending(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    s.second(world)
    place = desk(push_status="false")
    run(place)
    place = desk()
    real, sent = place.sparklayer.add_note, 0

    def slow_then_killed(order: OrderRef, body: str) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            raise KeyboardInterrupt
        clock.forward(minutes=3)
        real(order, body)

    place.sparklayer.add_note = slow_then_killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(place, "push_status")

    with place.store.reading() as connection:
        rows = connection.execute(outbox.outbox.select().where(outbox.outbox.c.kind == Kind.NOTE)).all()
    assert sorted(row.attempts for row in rows) == [0] * (len(rows) - 2) + [1, 1]
    assert max(row.next_attempt_at for row in rows) == clock.now() + outbox.GRACE


def test_to_find_the_other_side_down_is_no_attempt(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk(sparklayer_base_url="http://127.0.0.1:9/sparklayer")
    run(desk(push_status="false"))
    for _ in range(3):
        clock.forward(minutes=5)
        assert run(place, "push_status")["push_status"].status == "failed"
    with place.store.reading() as connection:
        assert [row.attempts for row in connection.execute(outbox.outbox.select())] == [0]


def test_a_server_error_leaves_the_same_doubt(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    world.faults.add(Fault(kind="status", status=500, method="POST", path_contains="/history"))
    run(place)
    assert (s.tokens(world), s.undelivered(place)) == ([], [("note", "in_doubt")])

    clock.forward(minutes=5)
    run(place)

    assert s.tokens(world) == ["swap:R1:authorised:1"]
    assert len(world.calls("GET", "/history")) == 1


def test_a_note_that_never_arrives_is_given_up_after_a_day_and_can_be_retried(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    world.faults.add(Fault(kind="status", status=500, method="POST", path_contains="/history", times=None))
    for _ in range(14):
        run(place)
        clock.forward(hours=3)
    (exception,) = s.open_exceptions(place)
    assert (exception.code, s.undelivered(place)) == ("DELIVERY_FAILED", [("note", "failed")])

    world.faults.clear()
    with place.store.transaction() as connection:
        outbox.retry(connection, place.slug, [int(exception.subject.partition(":")[2])], clock.now())
    run(place)

    assert s.tokens(world) == ["swap:R1:authorised:1"]
    assert s.open_codes(place) == []


def test_without_a_doubt_no_history_is_read(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)

    run(desk())

    assert world.calls("GET", "/history") == []


def test_an_unreadable_history_delays_only_its_own_order(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002")
    s.returned(world)
    s.second(world, order_id="5002", order_name="#1002")
    place = desk()
    world.faults.add(
        Fault(kind="lost_reply_before", method="POST", path_contains="/platform/5001/history"),
        Fault(kind="status", status=500, method="GET", path_contains="/platform/5001/history", times=None),
    )
    run(place)
    for return_id in ("R1", "R2"):
        world.swap.change_return(return_id, delivery_status="Delivered")
    clock.forward(minutes=30)
    run(place)

    assert s.tokens(world, "5002") == ["swap:R2:authorised:1", "swap:R2:received:1"]
    assert s.tokens(world, "5001") == []
    assert s.undelivered(place) == [("note", "in_doubt"), ("note", "pending")]

    world.faults.clear()
    clock.forward(hours=1)
    run(place)
    assert s.tokens(world, "5001") == ["swap:R1:authorised:1", "swap:R1:received:1"]


def test_a_held_return_is_not_reported_on(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, customer_email="stranger@else.example")

    run(desk())

    assert s.notes(world) == []


def test_a_switch_turns_the_notes_off(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)

    run(desk(push_status="false"))

    assert s.notes(world) == []
    assert s.credits(world) != {}
