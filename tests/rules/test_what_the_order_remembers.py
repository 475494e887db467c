"""What was credited on an order stays counted on it, whatever becomes of the return, the order line or its key."""

from decimal import Decimal
from typing import Any

import pytest

from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, money
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s
from tests.rules.test_policies_of_a_site import decide

pytestmark = s.one_store_is_enough

WHOLE = {"total": Decimal(120), **s.APPROVED}


def test_units_credited_for_a_return_that_is_of_another_order_now_are_not_credited_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002")
    s.returned(world, s.back(quantity=10), **WHOLE)
    place = desk()
    run(place)
    clock.forward(hours=1)
    world.swap.change_return("R1", order_id="5002", shopify_order_name="#1002")
    s.second(world, s.back(quantity=10), **WHOLE)
    run(place)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-120.00"}
    assert s.open_codes(place, "R2") == ["QUANTITY_EXCEEDS_ORDER"]


@pytest.mark.parametrize("fits", [True, False])
def test_an_order_line_with_a_new_key_is_not_credited_anew(
    desk: Desk, world: World, clock: FixedClock, fits: bool
) -> None:
    s.order(world)
    s.returned(world, s.back("MUG" if fits else None, 10, line_item_id="li-MUG", variant_id=None), **WHOLE)
    place = desk()
    run(place)
    clock.forward(hours=1)
    s.order(world, s.sold(line_item_id="li-NEW", variant_id="v-NEW"), updated=clock.now())
    s.second(world, s.back(quantity=10, line_item_id="li-NEW"), **WHOLE)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-120.00"}
    assert s.open_codes(place, "R2") == ["QUANTITY_EXCEEDS_ORDER" if fits else "ORDER_CHANGED"]


def test_an_order_is_never_credited_with_more_than_it_is_worth(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, s.back(None, 10, line_item_id="li-MUG", variant_id=None), **WHOLE)
    place = desk()
    run(place)
    clock.forward(hours=1)
    s.order(world, s.sold("CUP"), updated=clock.now())
    s.second(world, s.back("CUP", 10), **WHOLE)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-120.00"}
    assert s.open_codes(place, "R2") == ["ORDER_CHANGED"]


@pytest.mark.parametrize("what", ["price", "currency"])
def test_another_return_does_not_settle_the_difference_of_a_changed_order_line_by_itself(
    desk: Desk, world: World, clock: FixedClock, what: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    clock.forward(hours=1)
    if what == "price":
        s.order(world, s.sold(net="200.00", tax="40.00"), updated=clock.now())
        s.second(world, total=Decimal(96), **s.APPROVED)
    else:
        s.order(world, s.sold(currency="EUR"), currency="EUR", updated=clock.now())
        s.second(world, customer_currency="EUR", **s.APPROVED)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place, "R2") == ["ORDER_CHANGED"]


def test_carriage_is_given_back_with_the_last_unit_even_if_that_is_worth_nothing(desk: Desk, world: World) -> None:
    amounts = (("net", "10.00"), ("tax", "2.00"), ("gross", "12.00"))
    method = {"name": "Courier", "line_total": {f"total_{name}": money(amount, "GBP") for name, amount in amounts}}
    lines = [s.sold(), s.sold("GIFT", 1, "0.00", "0.00")]
    s.order(world, packages=[{"type": "shipped", "line_items": lines, "shipping_method": method}])
    s.returned(world, s.back(quantity=10), **WHOLE)
    place = desk(credit_shipping="whole_order")
    run(place)
    s.second(world, s.back("GIFT", 1), total=Decimal(0), **s.APPROVED)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-120.00", "swap:R2:credit:1": "-12.00"}


def test_goods_of_a_cancelled_return_that_lie_in_inspection_are_reported_and_can_be_inspected(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    clock.forward(hours=1)
    world.swap.change_return("R1", return_status="Cancelled")
    run(place)
    assert s.open_codes(place) == []
    clock.forward(days=40)
    run(place)
    assert (s.levels(world)["inspection"], s.open_codes(place)) == (4, ["INSPECTION_OVERDUE"])
    s.found(place, "sellable", 4)
    run(place)
    assert s.open_codes(place) == ["INSPECTION_REVIEW"]
    decide(place, "INSPECTION_REVIEW", "deny")
    run(place)
    assert (s.levels(world)["inspection"], s.levels(world)["default"], s.credits(world)) == (0, 4, {})


def named_anew(world: World, clock: FixedClock, *lines: dict[str, Any], **fields: Any) -> None:
    """Swap names the lines of R1 anew."""
    clock.forward(hours=1)
    world.swap.change_return("R1", products=list(lines or [s.back(product_id="another")]), **fields)


def accepted_as_it_is(place: Workplace) -> None:
    """A person accepts what changed, and what is asked after that."""
    run(place)
    for _ in range(2):
        for row in s.open_exceptions(place):
            if row.code == "RETURN_CHANGED_AFTER_CREDIT":
                rule(place.store, row.id, "accept", actor="fina", now=place.clock.now())
        run(place)


@pytest.mark.parametrize("inspected", [True, False])
def test_goods_of_a_line_that_has_another_name_now_are_not_counted_twice_and_a_finding_is_not_forgotten(
    desk: Desk, world: World, clock: FixedClock, inspected: bool
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    if inspected:
        s.found(place, "missing", 4)
        run(place)
    named_anew(world, clock, return_status="Closed", quality_control_status="Approved")
    run(place)
    run(place)
    held = [row for row in s.open_exceptions(place) if row.code == "RETURN_CHANGED_AFTER_CREDIT"]
    assert (len(held), s.credits(world), s.levels(world)["inspection"]) == (1, {}, 0 if inspected else 4)
    accepted_as_it_is(place)
    assert s.levels(world)["inspection"] == (0 if inspected else 4)
    assert s.credits(world) == ({} if inspected else {"swap:R1:credit:1": "-48.00"})
    assert s.open_codes(place) == (["INSPECTION_SHORT"] if inspected else [])
    assert len(s.moved(place)) == (2 if inspected else 1)


def test_what_was_credited_counts_for_the_line_that_took_its_place(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    named_anew(world, clock, s.back(quantity=1, product_id="one"), s.back(quantity=3, product_id="two"))
    accepted_as_it_is(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert (s.moved(place), s.levels(world)["inspection"]) == ([("received", 4)], 4)
    assert (s.state(place), s.open_codes(place)) == ("credited", [])


def test_goods_that_were_inspected_are_not_expected_again_under_another_name(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(settle_on="inspected")
    run(place)
    s.found(place, "sellable", 3)
    run(place)
    named_anew(world, clock)
    accepted_as_it_is(place)
    again = Entry("RMA-1", "MUG", "sellable", "4", "again")
    refused = record_findings(place.store, place.slug, [again], actor="wanda", now=clock.now()).refused
    assert [reason for _, reason in refused] == ["4 x MUG is more than RMA RMA-1 still expects: 1 not inspected yet"]
    s.found(place, "sellable", 1)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-36.00", "swap:R1:credit:2": "-12.00"}
    assert s.levels(world) == {"inspection": 0, "default": 4, "damaged": None}
    assert (s.state(place), s.open_codes(place), s.staged(place).inspection) == ("credited", [], "done")
