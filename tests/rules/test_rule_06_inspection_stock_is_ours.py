"""Rule 6: our own locations show our ledger; sellable stock is read, added to and written, and never guessed."""

from typing import Any

import pytest

from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

UPDATE = "/batch-update-stock"


def test_inspection_shows_the_ledgers_figure_over_all_returns(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    assert s.levels(world)["inspection"] == 4

    clock.forward(minutes=5)
    s.second(world, s.back(quantity=3), **s.DELIVERED, updated=clock.now())
    run(place)

    assert s.levels(world)["inspection"] == 7


def test_the_ledger_overrules_what_somebody_else_wrote_to_our_locations(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    world.sparklayer.set_level("MUG", "inspection", 99)
    world.sparklayer.set_level("MUG", "damaged", 99)

    s.found(place, "damaged", 1)
    run(place)

    assert s.levels(world) == {"inspection": 3, "default": None, "damaged": 1}


def test_the_locations_are_the_sites(desk: Desk, world: World) -> None:
    for name in ("quarantine", "shelf", "bin"):
        world.sparklayer.add_location(name, name)
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(inspection_location="quarantine", sellable_location="shelf", damaged_location="bin")
    run(place, "poll_returns")

    for condition, units in (("sellable", 2), ("damaged", 1)):
        s.found(place, condition, units)
    run(place)

    assert [world.sparklayer.level("MUG", name) for name in ("quarantine", "shelf", "bin")] == [1, 2, 1]
    assert s.levels(world) == s.NOWHERE


def test_a_missing_location_fails_the_job_with_its_name_and_sends_nothing(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)

    records = run(desk(inspection_location="nowhere"))

    assert records["push_restocks"].status == "failed"
    assert "nowhere" in str(records["push_restocks"].error)
    assert s.stock_writes(world) == []
    assert s.credits(world) != {}


def test_a_repeat_to_our_own_locations_is_harmless(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    world.faults.add(Fault(kind="lost_reply_after", path_contains=UPDATE, times=3))

    for _ in range(3):
        run(place)
        clock.forward(minutes=5)

    assert s.levels(world)["inspection"] == 4
    assert s.open_codes(place) == []


def restocking(desk: Desk, world: World) -> Any:
    """A site whose next run adds 4 MUG to the 20 sellable ones, and writes nothing else to stock."""
    s.order(world)
    s.returned(world, **s.DELIVERED)
    world.sparklayer.set_level("MUG", "default", 20, 5, "2026-04-01")
    place = desk()
    run(place)
    s.found(place, "sellable", 4)
    run(place, "reconcile")
    return place


def test_sellable_stock_is_added_to_and_keeps_what_stands_beside_the_level(desk: Desk, world: World) -> None:
    run(restocking(desk, world))

    (row,) = [row for row in world.sparklayer.levels("MUG", None) if row["stock_level"] == 24]
    assert (row["min_stock_level"], row["restock_date"]) == (5, "2026-04-01")


def test_a_sku_without_a_level_counts_as_zero(desk: Desk, world: World) -> None:
    s.order(world, s.sold("00123"))
    s.returned(world, s.back("00123"), **s.APPROVED)

    run(desk(restock_on="swap_approved"))

    assert s.levels(world, "00123")["default"] == 4


@pytest.mark.parametrize("kind", ["lost_reply_before", "lost_reply_after", "html"])
def test_after_a_lost_reply_the_level_is_read_before_anything_is_sent_again(
    desk: Desk, world: World, clock: FixedClock, kind: Any
) -> None:
    place = restocking(desk, world)
    world.faults.add(Fault(kind=kind, path_contains=UPDATE, after=1))
    record = run(place)["push_restocks"]
    assert record.status == "failed"
    first = len(world.exchanges)

    clock.forward(minutes=5)
    run(place)
    clock.forward(minutes=5)
    run(place)

    after = [call.path.rpartition("/")[2] for call in world.exchanges[first:] if "stock" in call.path]
    read, sent = after.index("batch-fetch-stock"), after.count("batch-update-stock")
    assert sent == (0 if kind == "lost_reply_after" else 1)
    assert sent == 0 or read < after.index("batch-update-stock")
    assert s.levels(world)["default"] == 24
    assert s.open_codes(place) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_worker_that_dies_over_sellable_stock_adds_it_once(
    desk: Desk, world: World, clock: FixedClock, before: bool
) -> None:
    place = restocking(desk, world)
    run(place, "push_credits")
    real = place.sparklayer.set_stock
    real_levels = place.sparklayer.stock_levels

    def arm(*args: Any) -> Any:
        s.dies_in(place.sparklayer, "set_stock", before=before)
        return real_levels(*args)

    place.sparklayer.stock_levels = arm
    with pytest.raises(s.Crash):
        run(place, "push_restocks")
    place.sparklayer.stock_levels = real_levels
    place.sparklayer.set_stock = real

    for _ in range(2):
        clock.forward(minutes=5)
        run(place)

    assert s.levels(world) == {"inspection": 0, "default": 24, "damaged": None}


def test_where_the_reading_can_not_tell_nothing_is_sent(desk: Desk, world: World, clock: FixedClock) -> None:
    place = restocking(desk, world)
    world.faults.add(Fault(kind="lost_reply_after", path_contains=UPDATE, after=1))
    run(place)
    world.sparklayer.set_level("MUG", "default", 22)
    sent = s.stock_writes(world)

    for _ in range(2):
        clock.forward(minutes=5)
        run(place)

    assert s.stock_writes(world) == sent
    assert s.levels(world)["default"] == 22
    assert s.open_codes(place) == ["RESTOCK_UNCERTAIN"]


def test_a_doubtful_sku_does_not_hold_up_the_others(desk: Desk, world: World, clock: FixedClock) -> None:
    place = restocking(desk, world)
    world.faults.add(Fault(kind="lost_reply_after", path_contains=UPDATE, after=1))
    run(place)
    world.sparklayer.set_level("MUG", "default", 22)

    clock.forward(minutes=5)
    s.order(world, s.sold("CUP"), platform_id="5002", visible="#1002", updated=clock.now())
    s.second(world, s.back("CUP"), order_id="5002", order_name="#1002", **s.DELIVERED, updated=clock.now())
    run(place, "poll_returns")
    s.found(place, "sellable", 4, sku="CUP", rma="RMA-2")
    run(place)

    assert s.levels(world, "CUP")["default"] == 4
    assert s.levels(world, "MUG")["default"] == 22


def test_a_sale_between_two_runs_is_kept(desk: Desk, world: World, clock: FixedClock) -> None:
    place = restocking(desk, world)
    world.sparklayer.set_level("MUG", "default", 7)

    run(place)

    assert s.levels(world)["default"] == 11


def test_a_refused_pair_does_not_cost_the_others(desk: Desk, world: World, clock: FixedClock) -> None:
    skus = ["A", "B", "BAD", "C", "D"]
    s.order(world, *(s.sold(sku) for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), **s.APPROVED, total=60)
    world.sparklayer.refused_skus = {"BAD"}
    for sku in skus:
        world.sparklayer.set_level(sku, "default", 20)
    place = desk(restock_on="swap_approved")

    for _ in range(2):
        run(place)
        clock.forward(minutes=5)

    assert {sku: s.levels(world, sku)["default"] for sku in skus} == dict.fromkeys(skus, 21) | {"BAD": 20}
    assert {sku: s.levels(world, sku)["inspection"] for sku in skus} == dict.fromkeys(skus, 0) | {"BAD": None}
    assert set(s.open_codes(place)) == {"DELIVERY_FAILED"}
    assert s.credits(world) == {"swap:R1:credit:1": "-60.00"}


def test_a_lost_reply_beside_a_refused_pair_leaves_nothing_in_doubt_that_was_answered(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    skus = ["A", "BAD"]
    s.order(world, *(s.sold(sku) for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), **s.APPROVED, total=24)
    place = desk(restock_on="swap_approved")
    world.sparklayer.refused_skus = {"BAD"}
    # our own locations: together, A, BAD; sellable: together, A, and then BAD, to which no answer comes
    world.faults.add(Fault(kind="lost_reply_before", path_contains=UPDATE, after=5))
    run(place)
    assert s.levels(world, "A")["default"] == 1
    world.sparklayer.set_level("A", "default", 0)  # sold at once

    for _ in range(2):
        clock.forward(minutes=5)
        run(place)

    assert s.levels(world, "A")["default"] == 0
    assert "RESTOCK_UNCERTAIN" not in s.open_codes(place)


def test_a_batch_holds_at_most_500_pairs_and_each_pair_once(desk: Desk, world: World) -> None:
    skus = [f"SKU-{number:03}" for number in range(501)]
    s.order(world, *(s.sold(sku, 2, "2.00", "0.00") for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), s.back(skus[0], 1), **s.APPROVED, total=502)

    run(desk(restock_on="swap_approved"))

    batches = [
        [(row["sku"], row["stock_location_external_id"]) for row in call.request_body] for call in s.stock_writes(world)
    ]
    assert max(map(len, batches)) == 500
    assert all(len(set(batch)) == len(batch) for batch in batches)
    assert s.levels(world, skus[0])["default"] == 2
    assert {s.levels(world, sku)["default"] for sku in skus[1:]} == {1}


def test_a_merchant_whose_platform_owns_stock_gets_no_call_about_stock_at_all(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(stock_path="none", restock_on="swap_approved")

    run(place)

    assert [call.path for call in world.exchanges if "stock" in call.path] == []
    assert s.moved(place) == [("received", 4), ("restocked", 4)]
    assert s.credits(world) != {}
