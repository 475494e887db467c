"""What a site decides for itself: carriage, fees, approval, waiting for the warehouse; and other rules later."""

from decimal import Decimal
from typing import Any

import pytest

from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, money
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def decide(place: Workplace, code: str, action: str, value: str = "") -> None:
    """A person's word on the one open exception of a kind."""
    (row,) = [row for row in s.open_exceptions(place) if row.code == code]
    rule(place.store, row.id, action, value=value, actor="pat", now=place.clock.now())


def order_with_carriage(world: World, net: str = "10.00", tax: str = "2.00") -> None:
    """The usual order, shipped for 10.00 net and 2.00 tax."""
    gross = str(Decimal(net) + Decimal(tax))
    total = {f"total_{name}": money(amount, "GBP") for name, amount in (("net", net), ("tax", tax), ("gross", gross))}
    method = {"name": "Courier", "line_total": total}
    s.order(world, packages=[{"type": "shipped", "line_items": [s.sold()], "shipping_method": method}])


@pytest.mark.parametrize(
    ("policy", "after_four", "after_ten"),
    [
        ("never", ["-48.00"], ["-48.00", "-72.00"]),
        ("pro_rata", ["-52.80"], ["-52.80", "-79.20"]),
        ("whole_order", ["-48.00"], ["-48.00", "-84.00"]),
    ],
)
def test_carriage_is_credited_as_the_site_says(
    desk: Desk, world: World, clock: FixedClock, policy: str, after_four: list[str], after_ten: list[str]
) -> None:
    order_with_carriage(world)
    s.returned(world, **s.APPROVED)
    place = desk(credit_shipping=policy)
    run(place)
    assert list(s.credits(world).values()) == after_four
    s.second(world, s.back(quantity=6), **s.APPROVED, total=Decimal("72.00"), updated=clock.now())
    clock.forward(hours=1)
    run(place)
    assert sorted(s.credits(world).values()) == sorted(after_ten)
    run(place)
    assert len(s.credits(world)) == 2


def test_a_handling_fee_is_kept_back_once_and_never_more_than_the_goods_are_worth(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED, handling_fee=15)
    place = desk(deduct_handling_fee="true", settle_on="inspected")
    run(place)
    s.found(place, "sellable", 1)
    run(place)
    assert s.credits(world) == {}  # 12.00 of goods, all of it kept: no note is worth nothing
    s.found(place, "sellable", 1)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-9.00"}
    assert s.document_lines(place) == [("", 1, -1250, -250), ("MUG", 2, 2000, 400)]
    s.found(place, "sellable", 2)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-9.00", "swap:R1:credit:2": "-24.00"}


def test_without_the_policy_swaps_handling_fee_changes_nothing(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, handling_fee=15)
    run(desk())
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_a_credit_above_the_limit_waits_until_somebody_approves_exactly_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(approve_above="40")
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == ({}, ["APPROVAL_NEEDED"], "held")
    assert s.levels(world)["inspection"] == 4  # the goods are there all the same
    decide(place, "APPROVAL_NEEDED", "credit")
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])


def test_a_credit_at_the_limit_needs_nobody(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    run(desk(approve_above="48.00"))
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_an_approval_is_not_good_for_another_amount(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(approve_above="10", settle_on="inspected")
    run(place)
    s.found(place, "sellable", 2)
    run(place)
    decide(place, "APPROVAL_NEEDED", "credit")
    s.found(place, "sellable", 1)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, ["APPROVAL_NEEDED"])


def test_a_refused_credit_is_denied_and_one_that_waits_takes_no_share_from_another_return(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold(quantity=3, net="10.00", tax="0.00"))
    s.returned(world, s.back(quantity=2), **s.APPROVED, total=Decimal("6.67"))
    s.second(world, s.back(quantity=1), **s.APPROVED, total=Decimal("3.33"))
    place = desk(approve_above="5")
    run(place)
    assert s.credits(world) == {"swap:R2:credit:1": "-3.33"}
    decide(place, "APPROVAL_NEEDED", "deny")
    run(place)
    assert (s.state(place), s.credits(world)) == ("denied", {"swap:R2:credit:1": "-3.33"})


def test_goods_that_wait_too_long_for_the_warehouse_are_reported_until_they_are_inspected(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED, delivered=clock.now())
    place = desk(inspection_days="3")
    run(place)
    clock.forward(days=2, hours=23)
    run(place)
    assert s.open_codes(place) == []
    clock.forward(hours=2)
    run(place)
    assert s.open_codes(place) == ["INSPECTION_OVERDUE"]
    s.found(place, "sellable", 3)
    run(place)
    assert s.open_codes(place) == ["INSPECTION_OVERDUE"]
    s.found(place, "sellable", 1)
    run(place)
    assert s.open_codes(place) == []


def test_a_site_can_do_without_the_reminder(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk(inspection_days="0")
    run(place)
    clock.forward(days=400)
    run(place)
    assert "INSPECTION_OVERDUE" not in s.open_codes(place)


@pytest.mark.parametrize(
    ("before", "after", "order", "returned"),
    [
        ({"settle_on": "inspected"}, {}, {}, s.APPROVED),
        ({"po_required": "true"}, {}, {"customer_reference": None}, s.APPROVED),
        ({}, {"uses_swap_qc": "false"}, {}, s.APPROVED | {"quality_control_status": None}),
        ({"approve_above": "1"}, {}, {}, s.APPROVED),
    ],
    ids=["settle_on", "po_required", "uses_swap_qc", "approve_above"],
)
def test_a_changed_policy_is_applied_to_what_waits(
    desk: Desk,
    world: World,
    before: dict[str, str],
    after: dict[str, str],
    order: dict[str, Any],
    returned: dict[str, Any],
) -> None:
    s.order(world, **order)
    s.returned(world, **returned)
    run(desk(**before))
    assert s.credits(world) == {}
    run(desk(**after))
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


@s.one_store_is_enough
def test_a_changed_policy_is_applied_to_the_rest_of_what_was_credited_in_part(desk: Desk, world: World) -> None:
    s.order(world, s.sold(), s.sold("CUP"))
    s.returned(world, s.back(), s.back("CUP"), total=Decimal(96), **s.APPROVED)
    place = desk(settle_on="inspected")
    run(place)
    s.found(place, "sellable", 4)
    run(place)
    assert (s.credits(world), s.state(place)) == ({"swap:R1:credit:1": "-48.00"}, "credited")
    place = desk(settle_on="swap_closed")
    run(place)
    run(place)  # our own credit changed the order, so it is read once more before anything is decided on it
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00", "swap:R1:credit:2": "-48.00"}
