"""Rule 6: our own locations show our ledger; sellable stock is read, added to and written, and never guessed."""

from typing import Any

import pytest

from swapsync.connectors.errors import InDoubt, LookAgain, Unreachable
from swapsync.jobs.rulings import rule
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store import outbox
from swapsync.store.outbox import Kind
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


def without(world: World, *missing: str) -> list[str]:
    """The stock locations of SparkLayer, after these were deleted there."""
    world.sparklayer.remove_locations(*missing)
    return [row["external_id"] for row in world.sparklayer.locations]


def created(world: World) -> list[str]:
    return [call.request_body["external_id"] for call in world.calls("POST", "/stock-locations")]


@pytest.mark.parametrize("kind", [None, "lost_reply_after", "lost_reply_before"])
def test_our_own_locations_are_created_once_where_the_site_allows_it(
    desk: Desk, world: World, clock: FixedClock, kind: Any
) -> None:
    assert without(world, "inspection", "damaged") == ["default"]
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(create_stock_locations="true")
    if kind:
        world.faults.add(Fault(kind=kind, method="POST", path_contains="/stock-locations"))

    for _ in range(2):
        run(place)
        clock.forward(minutes=5)
    s.found(place, "damaged", 1)
    run(place)

    assert s.levels(world) == {"inspection": 3, "default": None, "damaged": 1}
    again = ["inspection"] if kind == "lost_reply_before" else []
    assert created(world) == [*again, "inspection", "damaged"]
    told = [row.detail for row in s.trail(place) if row.kind == "stock_location_created"]
    assert [detail.split()[0] for detail in told] == ["inspection", "damaged"]


def test_a_location_that_somebody_else_created_meanwhile_is_used(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(create_stock_locations="true")
    real = place.sparklayer.stock_locations
    answers = iter([{}])
    place.sparklayer.stock_locations = lambda: next(answers, None) or real()

    assert run(place)["push_restocks"].status == "ok"

    assert s.levels(world)["inspection"] == 4
    assert [row for row in s.trail(place) if row.kind == "stock_location_created"] == []


def test_the_sellable_location_is_never_created(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(create_stock_locations="true", sellable_location="defualt", restock_on="swap_approved")

    record = run(place)["push_restocks"]

    assert record.status == "failed"
    assert "'defualt'" in str(record.error)
    assert created(world) == []


def test_no_location_is_created_where_the_site_does_not_allow_it(desk: Desk, world: World) -> None:
    without(world, "inspection")
    s.order(world)
    s.returned(world, **s.DELIVERED)

    record = run(desk())["push_restocks"]

    assert "no stock location 'inspection': create it, or set SWAPSYNC_INSPECTION_LOCATION" in str(record.error)
    assert created(world) == []


def test_a_level_that_arrives_late_never_takes_the_place_of_a_newer_one(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    world.faults.add(Fault(kind="lost_reply_before", path_contains=UPDATE))
    assert run(place)["push_restocks"].status == "failed"

    clock.forward(minutes=1)
    s.found(place, "sellable", 4)
    run(place)
    assert s.levels(world) == s.NOWHERE
    world.sparklayer.set_level("MUG", "inspection", 4)  # it was only slow

    clock.forward(minutes=1)
    run(place)
    assert s.levels(world) == {"inspection": 0, "default": 4, "damaged": None}


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


def lost(place: Any, world: World, kind: Any) -> None:
    """The sellable write of the next run gets no answer."""
    world.faults.add(Fault(kind=kind, path_contains=UPDATE, after=1))
    assert run(place)["push_restocks"].status == "failed"


def test_a_write_that_arrived_and_was_sold_again_at_once_is_not_sent_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = restocking(desk, world)
    lost(place, world, "lost_reply_after")
    world.sparklayer.set_level("MUG", "default", 20)  # sold: just as many as came back
    sent = s.stock_writes(world)

    for _ in range(2):
        clock.forward(minutes=5)
        run(place)

    assert s.stock_writes(world) == sent
    assert s.levels(world)["default"] == 20
    (problem,) = s.open_exceptions(place)
    assert problem.code == "RESTOCK_UNCERTAIN"
    assert "as if the write arrived, and units were sold since" in problem.detail


def test_a_write_that_never_arrived_is_not_taken_for_done_when_somebody_adds_just_as_many(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = restocking(desk, world)
    lost(place, world, "lost_reply_before")
    world.sparklayer.set_level("MUG", "default", 24)  # Swap or the platform restocked by itself

    clock.forward(minutes=5)
    run(place)

    (problem,) = s.open_exceptions(place)
    assert problem.code == "RESTOCK_UNCERTAIN"
    assert "as if it never arrived, and somebody else added just as many" in problem.detail
    assert s.levels(world) == {"inspection": 4, "default": 24, "damaged": None}


@pytest.mark.parametrize(("action", "sellable"), [("written", 20), ("not-written", 24)])
def test_a_person_who_counted_settles_the_doubt_and_the_levels_follow(
    desk: Desk, world: World, clock: FixedClock, action: str, sellable: int
) -> None:
    place = restocking(desk, world)
    lost(place, world, "lost_reply_before")
    world.sparklayer.set_level("MUG", "default", 21)
    clock.forward(minutes=5)
    run(place)
    world.sparklayer.set_level("MUG", "default", 20)
    (problem,) = s.open_exceptions(place)

    rule(place.store, problem.id, action, actor="olga", now=clock.now())
    for _ in range(2):
        clock.forward(minutes=5)
        run(place)

    assert s.levels(world) == {"inspection": 0, "default": sellable, "damaged": None}
    assert s.open_codes(place) == []


def test_units_stand_in_inspection_until_they_arrive_at_the_sellable_location(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = restocking(desk, world)
    lost(place, world, "lost_reply_before")
    assert s.levels(world) == {"inspection": 4, "default": 20, "damaged": None}

    clock.forward(minutes=5)
    run(place)

    assert s.levels(world) == {"inspection": 0, "default": 24, "damaged": None}
    (moved,) = [call for call in s.stock_writes(world) if len(call.request_body) == 2][-1:]
    assert {row["stock_location_external_id"] for row in moved.request_body} == {"inspection", "default"}


def test_a_connection_that_never_came_about_is_tried_again_without_a_doubt(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = restocking(desk, world)
    run(place, "push_credits")
    real = place.sparklayer.set_stock

    def unreachable(_: Any) -> None:
        raise Unreachable("SparkLayer: connection refused")

    place.sparklayer.set_stock = unreachable
    assert run(place, "push_restocks")["push_restocks"].status == "failed"
    assert ("restock", "pending") in s.undelivered(place)
    with place.store.reading() as connection:
        assert {row.attempts for row in outbox.due(connection, "default", Kind.RESTOCK, clock.now())} == {0}
    place.sparklayer.set_stock = real
    world.sparklayer.set_level("MUG", "default", 17)  # sold meanwhile: nothing is in doubt, so nothing hinders

    clock.forward(minutes=5)
    run(place)

    assert s.levels(world) == {"inspection": 0, "default": 21, "damaged": None}


def test_a_level_that_clashes_with_another_write_is_read_again_before_it_is_set(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    place = restocking(desk, world)
    world.faults.add(Fault(kind="status", status=409, path_contains=UPDATE, after=1, times=3))
    real = place.sparklayer.set_stock

    def clashing_with_a_sale(levels: Any) -> None:
        try:
            real(levels)
        except LookAgain:
            world.sparklayer.set_level("MUG", "default", (world.sparklayer.level("MUG", "default") or 0) - 1)
            raise

    place.sparklayer.set_stock = clashing_with_a_sale
    for _ in range(2):
        assert run(place)["push_restocks"].status == "ok"
        clock.forward(minutes=5)

    assert s.levels(world)["default"] == 24 - 3
    assert s.open_codes(place) == []


@s.one_store_is_enough
def test_nothing_is_sold_between_the_look_at_a_level_and_the_write_while_we_wait_for_our_turn(
    desk: Desk, world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    restocking(desk, world)
    waits: list[float] = []

    def sell_one(seconds: float) -> None:
        FixedClock.sleep(clock, seconds)
        waits.append(seconds)
        world.sparklayer.set_level("MUG", "default", (world.sparklayer.level("MUG", "default") or 0) - 1)

    monkeypatch.setattr(clock, "sleep", sell_one)
    run(desk(sparklayer_requests_per_minute="1"), "push_restocks")

    assert len(waits) > 3
    assert s.levels(world)["default"] == 24 - len(waits)


def test_what_is_written_in_smaller_parts_after_a_refusal_is_read_again_first(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    skus = ["A", "BAD"]
    s.order(world, *(s.sold(sku) for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), **s.APPROVED, total=24)
    world.sparklayer.set_level("A", "default", 20)
    place = desk(restock_on="swap_approved")
    world.sparklayer.refused_skus = {"BAD"}
    real = place.sparklayer.set_stock

    def sold_meanwhile(levels: Any) -> None:
        if {level.sku for level in levels} == set(skus):
            world.sparklayer.set_level("A", "default", 17)
        real(levels)

    place.sparklayer.set_stock = sold_meanwhile  # type: ignore[method-assign]
    run(place)

    assert s.levels(world, "A")["default"] == 18


def test_a_restock_that_arrives_late_is_not_sent_again(desk: Desk, world: World, clock: FixedClock) -> None:
    place = restocking(desk, world)
    real = place.sparklayer.set_stock

    def given_up_on(levels: Any) -> None:
        if len(levels) == 1:
            real(levels)
        else:
            clock.forward(seconds=100)
            raise InDoubt("SparkLayer: no answer")

    place.sparklayer.set_stock = given_up_on
    assert run(place)["push_restocks"].status == "failed"
    place.sparklayer.set_stock = real

    clock.forward(seconds=110)
    run(place)
    assert s.levels(world)["default"] == 20
    for location, level in (("default", 24), ("inspection", 0)):
        world.sparklayer.set_level("MUG", location, level)  # it was only slow
    world.sparklayer.set_level("MUG", "default", 21)  # and then three were sold

    clock.forward(seconds=10)
    run(place)
    assert s.levels(world)["default"] == 21


def test_a_sku_whose_level_can_not_be_read_costs_the_others_nothing_and_is_named(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    skus = ["A", "B", "ODD"]
    s.order(world, *(s.sold(sku) for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), **s.APPROVED, total=36)
    world.sparklayer.set_level("ODD", "default", 12)
    place = desk(restock_on="swap_approved")
    world.faults.add(Fault(kind="status", status=409, path_contains=UPDATE, after=1))  # so that it is read twice
    real = place.sparklayer.stock_levels
    place.sparklayer.stock_levels = lambda *asked: {  # type: ignore[method-assign]
        (sku, location): None if sku == "ODD" else level for (sku, location), level in real(*asked).items()
    }

    assert run(place)["push_restocks"].failed == 1
    assert [s.levels(world, sku)["default"] for sku in ("A", "B")] == [1, 1]
    [problem] = s.open_exceptions(place)
    assert (problem.code, problem.count) == ("DELIVERY_FAILED", 1)
    assert problem.detail.endswith('was not delivered: the stock level of SKU "ODD" can\'t be read')

    place.sparklayer.stock_levels = real  # type: ignore[method-assign]
    rule(place.store, problem.id, "retry", actor="kim", now=clock.now())
    clock.forward(minutes=5)
    run(place)
    assert s.levels(world, "ODD")["default"] == 13
    assert s.open_codes(place) == []


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


def test_a_sku_that_the_other_side_chokes_on_costs_the_others_nothing_and_is_shown_in_the_end(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    skus = ["A", "BAD", "C"]
    s.order(world, *(s.sold(sku) for sku in skus))
    s.returned(world, *(s.back(sku, 1) for sku in skus), **s.APPROVED, total=36)
    place = desk(restock_on="swap_approved")
    world.sparklayer.choking_skus = {"BAD"}

    for _ in range(2):
        run(place)
        clock.forward(minutes=5)
    assert [s.levels(world, sku)["default"] for sku in ("A", "C")] == [1, 1]
    assert "DELIVERY_FAILED" not in s.open_codes(place)

    for _ in range(40):
        clock.forward(hours=1)
        run(place)
    assert set(s.open_codes(place)) == {"DELIVERY_FAILED"}
    assert [s.levels(world, sku)["default"] for sku in ("A", "C")] == [1, 1]
    assert s.levels(world, "BAD") == s.NOWHERE
