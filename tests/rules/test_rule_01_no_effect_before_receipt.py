"""Rule 1: no effect before receipt; what counts as confirmed, for money and for sellable stock."""

from typing import Any

import pytest

from swapsync.jobs.rulings import rule
from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def test_an_announced_return_changes_nothing_but_the_orders_history(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world)

    run(desk())

    assert {call.path.rpartition("/")[2] for call in s.writes(world)} == {"history"}
    assert s.tokens(world) == ["swap:R1:authorised:1"]
    assert (s.credits(world), s.levels(world)) == ({}, s.NOWHERE)


def test_delivered_alone_moves_the_announced_units_to_inspection_and_nothing_else(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    world.sparklayer.set_level("MUG", "default", 20)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.levels(world) == {"inspection": 4, "default": 20, "damaged": None}
    assert s.money_writes(world) == []
    assert [row["sku"] for call in s.stock_writes(world) for row in call.request_body] == ["MUG"]
    assert (s.state(place), world.sparklayer.balance(s.BUYER)) == ("none", 1000)


def test_closed_delivered_and_approved_in_swap_releases_the_credit_and_no_sellable_stock(
    desk: Desk, world: World
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert world.sparklayer.balance(s.BUYER) == 952
    assert s.levels(world) == {"inspection": 4, "default": None, "damaged": None}
    assert s.state(place) == "credited"


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("outcome", "uses_swap_qc"),
    [
        pytest.param({"quality_control_status": "Not Approved"}, "true", id="not approved"),
        pytest.param({"quality_control_status": "Missing"}, "true", id="missing"),
        pytest.param({"quality_control_status": "Pending"}, "true", id="QC pending"),
        pytest.param({"quality_control_status": None}, "true", id="QC empty"),
        pytest.param({"quality_control_status": "Not Approved"}, "false", id="not approved, QC not used"),
        pytest.param({"quality_control_status": "Pending"}, "false", id="QC pending, QC not used"),
        pytest.param({"delivery_status": "In-Transit"}, "true", id="closed undelivered"),
        pytest.param({"delivery_status": None}, "true", id="closed, never sent"),
        pytest.param({"return_status": "Open", "closed": None}, "true", id="approved but open"),
        pytest.param({"return_status": "Needs Review", "closed": None}, "true", id="needs review"),
        pytest.param({"return_status": "On Hold", "closed": None}, "true", id="on hold"),
        pytest.param({"return_status": "Cancelled"}, "true", id="cancelled"),
        pytest.param({"return_status": "Expired"}, "true", id="expired"),
    ],
)
def test_any_other_outcome_gets_no_credit_by_itself(
    desk: Desk, world: World, outcome: dict[str, Any], uses_swap_qc: str
) -> None:
    s.order(world)
    s.returned(world, **(s.APPROVED | outcome))
    place = desk(uses_swap_qc=uses_swap_qc, restock_on="swap_approved")

    run(place)

    assert s.money_writes(world) == []
    assert s.documents(place) == []
    assert s.levels(world)["default"] is None


def test_an_empty_quality_control_counts_where_the_merchant_does_not_use_it(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **(s.APPROVED | {"quality_control_status": None}))

    run(desk(uses_swap_qc="false", restock_on="swap_approved"))

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world)["default"] is None, "sellable stock takes an approval, not an empty field"


def test_settling_on_inspection_waits_for_the_warehouse(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(settle_on="inspected")
    run(place)
    assert s.money_writes(world) == []

    s.found(place, "sellable", 4)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


@pytest.mark.parametrize("swap_says", [s.ANNOUNCED, s.DELIVERED, s.APPROVED | {"quality_control_status": "Missing"}])
def test_a_finding_proves_receipt_whatever_swap_says(desk: Desk, world: World, swap_says: dict[str, Any]) -> None:
    s.order(world)
    s.returned(world, **swap_says)
    place = desk()
    run(place, "poll_returns")

    s.found(place, "sellable", 4)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world)["default"] == 4
    assert s.levels(world)["inspection"] == 0


@pytest.mark.parametrize("return_type", ["Exchange", "Refund"])
def test_units_that_are_on_sale_and_found_damaged_are_told_to_the_warehouse(
    desk: Desk, world: World, clock: FixedClock, return_type: str
) -> None:
    s.order(world)
    s.returned(world, s.back(return_type=return_type), **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place)
    assert s.levels(world)["default"] == 4
    s.found(place, "damaged", 4)
    run(place)
    [told] = [row for row in s.open_exceptions(place) if row.code == "INSPECTION_SHORT"]
    assert told.detail.startswith("4 x MUG were released for sale and then found damaged: take them off sale")
    assert told.owner == "operations"
    rule(place.store, told.id, "accept", actor="otto", now=clock.now())
    run(place)
    assert "INSPECTION_SHORT" not in s.open_codes(place)


def test_the_finding_wins_over_swaps_summary(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place, "poll_returns")

    s.found(place, "sellable", 1)
    s.found(place, "missing", 3)
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-12.00"}
    assert s.levels(world) == {"inspection": 0, "default": 1, "damaged": None}
    assert s.open_codes(place) == ["INSPECTION_SHORT"]


def test_the_finding_is_line_by_line(desk: Desk, world: World) -> None:
    s.order(world, s.sold("MUG"), s.sold("CUP", 5, "50.00", "10.00"))
    s.returned(world, s.back("MUG", 4), s.back("CUP", 2), **s.APPROVED, total=72)
    place = desk()
    run(place, "poll_returns")

    s.found(place, "missing", 4, sku="MUG")
    run(place)

    assert s.document_lines(place) == [("CUP", 2, 2000, 400)]
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00"}


@pytest.mark.parametrize(
    ("condition", "credit", "where", "code"),
    [
        ("damaged", {}, {"inspection": 0, "default": None, "damaged": 4}, "INSPECTION_REVIEW"),
        ("no_value", {}, {"inspection": 0, "default": None, "damaged": None}, "INSPECTION_REVIEW"),
        ("missing", {}, {"inspection": 0, "default": None, "damaged": None}, "INSPECTION_SHORT"),
        ("wrong_item", {}, {"inspection": 4, "default": None, "damaged": None}, "UNEXPECTED_ITEM"),
    ],
)
def test_only_sellable_is_credited_and_restocked_by_itself(
    desk: Desk, world: World, condition: str, credit: dict[str, str], where: dict[str, int | None], code: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place, "poll_returns")

    s.found(place, condition, 4)
    run(place)

    assert s.credits(world) == credit
    assert s.levels(world) == where
    assert s.open_codes(place) == [code]


@pytest.mark.parametrize(
    ("condition", "code"),
    [("sellable", None), ("missing", "INSPECTION_SHORT"), ("damaged", "INSPECTION_REVIEW")],
)
def test_a_line_credited_on_swaps_word_is_not_credited_again_and_a_contradiction_is_shown(
    desk: Desk, world: World, clock: FixedClock, condition: str, code: str | None
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    money = s.money_writes(world)

    s.found(place, condition, 4)
    clock.forward(minutes=5)
    run(place)
    clock.forward(minutes=5)
    run(place)

    assert s.money_writes(world) == money
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place) == ([code] if code else [])
    assert world.sparklayer.balance(s.BUYER) == 952


def test_swaps_approval_releases_sellable_stock_only_where_the_site_says_so(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.sparklayer.set_level("MUG", "default", 20)

    run(desk(restock_on="swap_approved"))

    assert s.levels(world) == {"inspection": 0, "default": 24, "damaged": None}


def test_units_restocked_on_swaps_word_are_not_restocked_again_by_a_later_finding(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")
    run(place)

    s.found(place, "sellable", 4)
    clock.forward(minutes=5)
    run(place)

    assert s.levels(world) == {"inspection": 0, "default": 4, "damaged": None}


@pytest.mark.parametrize("return_type", ["Exchange", "Shop Now Credit"])
def test_what_swap_exchanges_is_restocked_and_not_credited(desk: Desk, world: World, return_type: str) -> None:
    s.order(world)
    s.returned(world, s.back(return_type=return_type), **s.APPROVED)
    place = desk()
    run(place, "poll_returns")

    s.found(place, "sellable", 4)
    run(place)

    assert s.money_writes(world) == []
    assert s.levels(world)["default"] == 4
