"""Rule 3: one effect, once, through crashes, lost replies, second workers and re-runs; nothing after a change."""

import threading
from typing import Any

import pytest

from swapsync.jobs.cycle import JOBS, run_job
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

ONCE = {"swap:R1:credit:1": "-48.00"}


def assert_made_good_once(world: World, place: Workplace) -> None:
    assert s.credits(world) == ONCE
    assert world.sparklayer.balance(s.BUYER) == 952
    assert [(note.platform_id, note.state) for note in s.documents(place)] == [("swap:R1:credit:1", "delivered")]
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:credited:1"]
    assert s.levels(world)["inspection"] == 4


def test_partial_credits_are_counted_from_one(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)

    for units in (1, 3):
        clock.forward(minutes=5)
        s.found(place, "sellable", units)
        run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-12.00", "swap:R1:credit:2": "-36.00"}
    assert s.tokens(world)[2:] == ["swap:R1:credited:1", "swap:R1:credited:2"]
    assert world.sparklayer.balance(s.BUYER) == 952


def test_any_number_of_runs_makes_one_effect_of_each(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    written = s.writes(world)

    for _ in range(3):
        clock.forward(minutes=5)
        world.swap.change_return("R1", tags="touched")
        run(place)

    assert_made_good_once(world, place)
    assert s.writes(world) == written


@pytest.mark.parametrize("kind", ["lost_reply_before", "lost_reply_after", "truncated", "cut_off", "html"])
def test_a_lost_reply_to_the_credit_makes_no_second_one(desk: Desk, world: World, clock: FixedClock, kind: Any) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind=kind, method="PUT", path_contains="/transactions", times=3))

    for _ in range(3):
        run(place)
        clock.forward(minutes=5)

    assert_made_good_once(world, place)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", ["put_transaction", "add_note", "set_stock", "purchase"])
def test_a_worker_that_dies_leaves_nothing_double_and_nothing_undone(
    desk: Desk, world: World, clock: FixedClock, call: str, before: bool
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    s.dies_in(place.sparklayer, call, before=before)
    with pytest.raises(s.Crash):
        run(place)

    for _ in range(2):
        clock.forward(minutes=5)
        run(desk())

    assert_made_good_once(world, place)


def test_two_workers_at_once_make_one_effect_of_each(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    places = [desk(restock_on="swap_approved"), desk(restock_on="swap_approved")]
    world.sparklayer.set_level("MUG", "default", 20)
    together = threading.Barrier(2)
    records: list[Any] = []

    def work(place: Workplace, holder: str) -> None:
        for name, job in JOBS.items():
            together.wait()
            records.append(run_job(place, name, job, holder))

    workers = [threading.Thread(target=work, args=(place, f"worker {number}")) for number, place in enumerate(places)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    run(places[0])

    assert [record.error for record in records if record.error] == []
    assert s.credits(world) == ONCE
    assert s.tokens(world) == ["swap:R1:authorised:1", "swap:R1:received:1", "swap:R1:credited:1"]
    assert s.levels(world) == {"inspection": 0, "default": 24, "damaged": None}
    assert len(s.documents(places[0])) == 1


def test_the_same_facts_give_the_same_id_and_amount_even_in_a_store_that_forgot_everything(
    desk: Desk, world: World
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    run(desk())

    run(desk("born_again"))

    assert s.credits(world) == ONCE
    assert world.sparklayer.balance(s.BUYER) == 952
    bodies = [call.request_body["total"] for call in s.money_writes(world)]
    assert bodies == [{"number": "-48.00", "currency": "GBP"}] * 2


def _line(**fields: Any) -> dict[str, Any]:
    return {"product_id": "R1-1", **s.back("MUG", 4), **fields}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"products": [_line(item_count=5)]}, id="more units"),
        pytest.param({"products": [_line(item_count=3)]}, id="fewer units"),
        pytest.param({"products": [_line(), _line(product_id="R1-2")]}, id="another line"),
        pytest.param({"products": []}, id="no lines"),
        pytest.param({"customer_currency": "EUR"}, id="another currency"),
        pytest.param({"order_id": "5002", "shopify_order_name": "#1002"}, id="another order"),
        pytest.param({"return_status": "Cancelled"}, id="cancelled"),
    ],
)
def test_after_a_credit_a_change_at_swap_is_left_to_a_person(
    desk: Desk, world: World, clock: FixedClock, change: dict[str, Any]
) -> None:
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002")
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place)
    written = s.writes(world)

    for _ in range(2):
        clock.forward(minutes=5)
        world.swap.change_return("R1", **({"return_shipments": []} | change))
        run(place)

    assert "RETURN_CHANGED_AFTER_CREDIT" in s.open_codes(place)
    assert s.writes(world) == written
    assert s.credits(world) == ONCE
    assert s.state(place) == "held"


def test_findings_after_such_a_change_credit_and_restock_nothing_further(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place, "poll_returns")
    s.found(place, "sellable", 2)
    run(place)
    clock.forward(minutes=5)
    world.swap.change_return("R1", products=[_line(item_count=9)])
    run(place)
    written = s.writes(world)

    s.found(place, "sellable", 7)
    run(place)

    assert s.writes(world) == written
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00"}
    assert "RETURN_CHANGED_AFTER_CREDIT" in s.open_codes(place)


def test_a_change_that_is_taken_back_ends_the_matter(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    clock.forward(minutes=5)
    original = world.swap.get_return("R1")["products"]
    world.swap.change_return("R1", products=[_line(item_count=5)])
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return("R1", products=original)
    run(place)

    assert s.open_codes(place) == []
    assert (s.state(place), s.credits(world)) == ("credited", ONCE)


def test_a_change_of_the_order_does_not_change_a_credit(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    s.order(world, s.sold(net="90.00", tax="18.00"), updated=clock.now())
    world.swap.change_return("R1", tags="touched")
    run(place)

    assert s.credits(world) == ONCE
    assert len(s.money_writes(world)) == 1


def test_a_credit_decided_while_sparklayer_is_down_goes_out_once_it_is_back(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=503, path_contains="/transactions", times=None))
    run(place)
    assert [note.state for note in s.documents(place)] == ["pending"]

    world.faults.clear()
    clock.forward(hours=3)
    run(place)

    assert_made_good_once(world, place)
