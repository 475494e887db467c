"""Rule 4: amounts come from the order, pro rata, and add up; Swap's figure is compared and holds nothing."""

from decimal import Decimal
from typing import Any

import pytest

from swapsync.sandbox.world import World, money
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def test_the_credit_is_the_orders_price_whatever_swap_says(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(cost=999), **s.APPROVED, total=999)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.document_lines(place) == [("MUG", 4, 4000, 800)]
    assert s.open_codes(place) == ["AMOUNT_MISMATCH"]


def test_a_lines_cost_at_swap_is_not_compared(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(cost=999), **s.APPROVED)
    place = desk()

    run(place)

    assert s.open_codes(place) == []


def test_the_lines_total_contains_its_discount_already(desk: Desk, world: World) -> None:
    s.order(world, s.sold(net="80.00", tax="16.00", discount_net="20.00"))
    s.returned(world, **s.APPROVED, total="38.40")
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-38.40"}
    assert s.open_codes(place) == []


def test_shipping_and_fees_are_not_credited(desk: Desk, world: World) -> None:
    s.order(
        world,
        calculated_total=money("137.95", "GBP"),
        shipping_method={"name": "Pallet", "price_total": {"total_gross": money("17.95", "GBP")}},
    )
    s.returned(world, s.back(quantity=10), **s.APPROVED, total=120, handling_fee=5)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-120.00"}
    assert s.open_codes(place) == []


@pytest.mark.parametrize(
    ("currency", "net", "tax", "expected"),
    [
        ("GBP", "10.00", "2.00", [(333, 67), (334, 66), (333, 67)]),
        ("GBP", "0.01", "0.00", [(0, 0), (1, 0), (0, 0)]),
        ("GBP", "10.01", "2.01", [(334, 67), (333, 67), (334, 67)]),
        ("JPY", "1000", "100", [(333, 33), (334, 34), (333, 33)]),
        ("KWD", "10.000", "0.500", [(3333, 167), (3334, 166), (3333, 167)]),
    ],
)
def test_partial_credits_of_a_line_add_up_to_its_total_exactly(
    desk: Desk, world: World, clock: FixedClock, currency: str, net: str, tax: str, expected: list[tuple[int, int]]
) -> None:
    s.buyer(world, currency=currency)
    s.order(world, s.sold(quantity=3, net=net, tax=tax, currency=currency), currency=currency)
    s.returned(world, s.back(quantity=3), customer_currency=currency, total=Decimal(net) + Decimal(tax))
    place = desk()
    run(place, "poll_returns")

    for _ in range(3):
        s.found(place, "sellable", 1)
        run(place, "poll_orders", "reconcile", "push_credits")

    lines = [(n, t) for _, _, n, t in s.document_lines(place)]
    assert lines == [pair for pair in expected if pair != (0, 0)]
    amounts = s.credits(world).values()
    assert sum(map(Decimal, amounts)) == -(Decimal(net) + Decimal(tax))
    assert world.sparklayer.balance(s.BUYER) == 1000 - Decimal(net) - Decimal(tax)
    places = {"GBP": 2, "JPY": 0, "KWD": 3}[currency]
    assert all(-Decimal(amount).as_tuple().exponent == places for amount in amounts)


def test_several_returns_of_a_line_add_up_to_its_total_and_never_exceed_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold(quantity=3, net="10.00", tax="2.00"))
    for number in range(1, 5):
        s.returned(
            world,
            s.back(quantity=1),
            **s.APPROVED,
            return_id=f"R{number}",
            rma_number=f"RMA-{number}",
            created=s.SUBMITTED.replace(hour=9 + number),
            total=4,
        )
    place = desk()

    run(place)

    assert sum(map(Decimal, s.credits(world).values())) == -12
    assert set(s.credits(world)) == {"swap:R1:credit:1", "swap:R2:credit:1", "swap:R3:credit:1"}
    assert s.state(place, "R4") == "held"


def test_two_rows_of_one_sku_keep_their_own_prices(desk: Desk, world: World) -> None:
    s.order(world, s.sold(line_item_id="a"), s.sold(quantity=10, net="50.00", tax="10.00", line_item_id="b"))
    s.returned(world, s.back(quantity=2, line_item_id="b"), **s.APPROVED, total=12)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-12.00"}


def test_a_line_shipped_in_parts_is_one_line(desk: Desk, world: World) -> None:
    part = s.sold(quantity=5, net="50.00", tax="10.00")
    packages = [{"type": "shipped", "line_items": [part]}, {"type": "unshipped", "line_items": [part]}]
    s.order(world, packages=packages)
    s.returned(world, s.back(quantity=10), **s.APPROVED, total=120)

    run(desk())

    assert s.credits(world) == {"swap:R1:credit:1": "-120.00"}


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("order_line", "total", "opens"),
    [
        pytest.param({}, "47.52", False, id="1 % below"),
        pytest.param({}, "48.48", False, id="1 % above"),
        pytest.param({}, "47.51", True, id="more than 1 % below"),
        pytest.param({}, "48.49", True, id="more than 1 % above"),
        pytest.param({"net": "2.00", "tax": "0.40"}, "0.91", False, id="0.05 on a small sum"),
        pytest.param({"net": "2.00", "tax": "0.40"}, "0.90", True, id="0.06 on a small sum"),
    ],
)
def test_a_difference_beyond_the_tolerance_is_shown_and_holds_nothing(
    desk: Desk, world: World, order_line: dict[str, Any], total: str, opens: bool
) -> None:
    s.order(world, s.sold(**order_line))
    s.returned(world, **s.APPROVED, total=total)
    place = desk()

    run(place)

    assert s.open_codes(place) == (["AMOUNT_MISMATCH"] if opens else [])
    assert len(s.credits(world)) == 1
    assert s.state(place) == "credited"


def test_the_tolerance_is_the_sites(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, total="40.00")
    place = desk(amount_tolerance="8.00")

    run(place)

    assert s.open_codes(place) == []
