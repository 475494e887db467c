"""Rule 8: which order a return is of, and which order line a returned line is; anything less is a suggestion."""

from typing import Any

import pytest

from swapsync.sandbox.world import World, variant_row
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}


@pytest.mark.parametrize("order_id", ["5001", "gid://shopify/Order/5001"])
def test_the_order_is_named_by_its_platform_id(desk: Desk, world: World, order_id: str) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, order_id=order_id, order_name="#9999")

    run(desk())

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_the_platform_id_comes_before_the_name(desk: Desk, world: World) -> None:
    s.order(world, platform_id="5001", visible="#2002")
    s.order(world, platform_id="6001", visible="#1001")
    s.returned(world, **s.APPROVED, order_id="5001", order_name="#1001")

    run(desk())

    assert (len(s.credits(world, "5001")), len(s.credits(world, "6001"))) == (1, 0)


@pytest.mark.parametrize("order_id", ["404404", ""])
def test_where_the_id_leads_nowhere_the_name_does(desk: Desk, world: World, order_id: str) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED, order_id=order_id)
    place = desk()

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.open_codes(place) == []


def test_an_order_older_than_the_history_that_is_polled_is_found_all_the_same(desk: Desk, world: World) -> None:
    s.order(world, placed=s.PLACED.replace(year=2024))
    s.returned(world, **s.APPROVED)

    run(desk(history_days="30"))

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def two_lines(world: World) -> None:
    s.order(world, s.sold("MUG"), s.sold("CUP", 10, "200.00", "40.00"))


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("line", "key", "by"),
    [
        pytest.param({"sku": "MUG", "line_item_id": "li-CUP"}, "li:li-CUP", "line item id", id="line item id first"),
        pytest.param(
            {"sku": "MUG", "line_item_id": "gid://shopify/LineItem/li-CUP"}, "li:li-CUP", "line item id", id="as a gid"
        ),
        pytest.param(
            {"sku": "MUG", "line_item_id": None, "variant_id": "v-CUP"}, "li:li-CUP", "variant id", id="variant"
        ),
        pytest.param({"sku": "CUP", **NO_IDS}, "li:li-CUP", "SKU", id="exact SKU"),
        pytest.param({"sku": "CUP", "line_item_id": "x", "variant_id": "y"}, "li:li-CUP", "SKU", id="unknown ids"),
        pytest.param(
            {"sku": None, "line_item_id": "li-CUP", "variant_id": None}, "li:li-CUP", "line item id", id="no SKU"
        ),
    ],
)
def test_a_line_is_matched_by_line_item_id_then_variant_id_then_exact_sku(
    desk: Desk, world: World, line: dict[str, Any], key: str, by: str
) -> None:
    two_lines(world)
    s.returned(world, s.back(quantity=1, **line), **s.APPROVED, total=24)
    place = desk()

    run(place)

    assert s.matched(place) == [(key, by)]
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00"}


@s.one_store_is_enough
@pytest.mark.parametrize(
    ("on_order", "on_return", "suggests"),
    [
        ("MUG", "mug", "letter case"),
        ("MUG-BLUE", "MUG BLUE", "spaces or hyphens"),
        ("00123", "123", "leading zeros"),
        ("1E5", "100000", ""),
        ("MUG", "JUG", ""),
        ("MUG", None, ""),
    ],
)
def test_anything_less_is_a_suggestion_and_held(
    desk: Desk, world: World, on_order: str, on_return: str | None, suggests: str
) -> None:
    s.order(world, s.sold(on_order))
    s.returned(world, s.back(on_return, **NO_IDS), **s.APPROVED)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.money_writes(world) == []
    assert s.stock_writes(world) == []
    (exception,) = s.open_exceptions(place)
    assert (exception.code, s.matched(place)) == ("SKU_NOT_ON_ORDER", [("", "")])
    assert suggests in exception.detail
    assert (on_order in exception.detail) == bool(suggests)


def test_a_sku_that_stands_twice_on_the_order_names_neither_line(desk: Desk, world: World) -> None:
    s.order(world, s.sold(line_item_id="a"), s.sold(line_item_id="b", net="50.00", tax="10.00"))
    s.returned(world, s.back(**NO_IDS), **s.APPROVED)
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.open_codes(place) == ["SKU_NOT_ON_ORDER"]


def test_a_renamed_sku_is_matched_through_its_history(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    world.sparklayer.put_variant(variant_row("v-MUG", "MUG-2026"))
    s.returned(world, s.back("MUG-2026", **NO_IDS), **s.APPROVED)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.matched(place) == [("li:li-MUG", "SKU history")]
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world, "MUG-2026")["default"] == 4, "the goods stand in stock under today's SKU"
    assert s.open_codes(place) == ["SKU_CHANGED"]


def test_a_sku_that_two_variants_carried_names_neither(desk: Desk, world: World) -> None:
    s.order(world, s.sold("OLD-A", variant_id="v-A"))
    s.order(world, s.sold("OLD-B", variant_id="v-B"), platform_id="5002", visible="#1002")
    for variant in ("v-A", "v-B"):
        world.sparklayer.put_variant(variant_row(variant, "NEW"))
    s.returned(world, s.back("NEW", **NO_IDS), **s.APPROVED)
    s.second(world, s.back("OLD-B"), order_id="5002", order_name="#1002")
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.open_codes(place, "R1") == ["SKU_NOT_ON_ORDER"]
