"""For an orphaned return, the order is suggested from what SparkLayer shows; a person links it."""

import json
from datetime import timedelta
from typing import Any

from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, customer_row
from swapsync.store import views
from swapsync.store.candidates import LOOK_AT
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

NOWHERE: dict[str, Any] = {"order_id": "404", "order_name": "#404"}
NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}


def suggestions(place: Workplace, return_id: str = "R1") -> list[dict[str, Any]]:
    (row,) = (row for row in s.open_exceptions(place) if row.return_id == return_id)
    assert row.code == "ORPHANED_RETURN"
    return list(row.suggestions)


def details_read(world: World) -> list[str]:
    return [e.path.rsplit("/", 1)[1] for e in world.calls("GET", "/api/v1/purchases/platform/") if e.status == 200]


def orders_of_the_buyer(world: World, count: int) -> None:
    """#2000, #2001 … of the same goods, each placed a day before the one before."""
    for n in range(count):
        s.order(world, platform_id=f"{6000 + n}", visible=f"#{2000 + n}", placed=s.PLACED - timedelta(days=n))


def test_the_order_is_suggested_with_its_evidence_and_never_linked_by_itself(desk: Desk, world: World) -> None:
    s.order(world)
    s.order(world, s.sold("CUP"), platform_id="5002", visible="#1002")
    s.returned(world, s.back(**NO_IDS), **s.APPROVED, **NOWHERE)
    place = desk()

    run(place)
    run(place)

    (suggestion,) = suggestions(place)
    assert (suggestion["order"], suggestion["covers"], suggestion["ambiguous"]) == ("#1001", "1 of 1 lines", False)
    assert f"bought by {s.BUYER}" in suggestion["evidence"]
    assert s.staged(place).order_id == ""
    assert s.money_writes(world) == []


def test_what_is_suggested_can_be_taken_as_it_is(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, s.back(**NO_IDS), **s.APPROVED, **NOWHERE)
    place = desk()
    run(place)
    (exception,) = s.open_exceptions(place)
    (suggestion,) = exception.suggestions

    rule(
        place.store,
        exception.id,
        suggestion["action"],
        value=suggestion["value"],
        actor="maria",
        now=clock.now(),
    )
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_units_of_other_returns_are_left_out(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=8))
    s.second(world, s.back(**NO_IDS), **NOWHERE)
    place = desk()

    run(place)

    (suggestion,) = suggestions(place, "R2")
    assert suggestion["covers"] == "0 of 1 lines"
    assert "sold: 10 MUG, 2 of them not claimed by other returns, 4 come back" in suggestion["evidence"]


def test_a_colleagues_order_is_suggested_as_the_companys(desk: Desk, world: World) -> None:
    world.sparklayer.put_customer(customer_row("boss@acme.example"))
    boss = s.customer_id("boss@acme.example")
    world.sparklayer.put_customer(customer_row("clerk@acme.example", parent_customer_id=boss))
    s.order(world, by="boss@acme.example")
    s.returned(world, s.back(**NO_IDS), customer_email="Clerk@acme.example", **NOWHERE)
    place = desk()

    run(place)

    (suggestion,) = suggestions(place)
    assert suggestion["order"] == "#1001"
    assert "bought by the same company" in suggestion["evidence"]


def test_a_name_written_otherwise_leads_to_the_order_of_a_customer_nobody_knows(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(**NO_IDS), order_id="404", order_name="1001", customer_email="new@else.example")
    place = desk()

    run(place)

    (suggestion,) = suggestions(place)
    assert suggestion["evidence"][0] == "the return names 1001, the order is #1001"


def test_a_return_of_somebody_unknown_has_no_suggestions(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(**NO_IDS), customer_email="new@else.example", **NOWHERE)
    place = desk()

    run(place)

    assert suggestions(place) == []


def test_only_the_newest_orders_are_read_and_each_once(desk: Desk, world: World) -> None:
    orders_of_the_buyer(world, LOOK_AT + 3)
    s.returned(world, s.back(**NO_IDS), **NOWHERE)
    place = desk()

    run(place)
    run(place)

    assert sorted(details_read(world)) == sorted(str(6000 + n) for n in range(LOOK_AT))
    first = suggestions(place)[0]
    assert first["order"] == "#2000"
    assert first["ambiguous"]
    assert first["evidence"][0].startswith("AMBIGUOUS: #2001, #2002, #2003 and")
    assert "3 older orders of the customer were not looked at" in first["evidence"]


def test_an_order_that_is_no_longer_the_buyers_is_not_suggested(desk: Desk, world: World) -> None:
    s.order(world)
    place = desk()
    run(place)
    s.order(world, by="else@else.example", updated=world.now())
    s.returned(world, s.back(**NO_IDS), **NOWHERE)

    run(place)

    assert suggestions(place) == []


def test_an_order_that_arrives_later_is_suggested_then(desk: Desk, world: World) -> None:
    s.buyer(world, s.BUYER)
    s.returned(world, s.back(**NO_IDS), **NOWHERE)
    place = desk()
    run(place)
    assert suggestions(place) == []

    s.order(world, updated=world.now())
    run(place)

    assert [each["order"] for each in suggestions(place)] == ["#1001"]
    (exception,) = s.open_exceptions(place)
    assert exception.count == 1, "it is the same exception, seen once"


def test_the_list_shows_suggestions_as_json(desk: Desk, world: World) -> None:
    s.order(world, s.sold("=1+1\x1b[31m"))
    s.returned(world, s.back("=1+1\x1b[31m", **NO_IDS), **NOWHERE)
    place = desk()
    run(place)

    with place.store.reading() as connection:
        (item,) = views.list_exceptions(connection).rows
    assert json.loads(json.dumps(item))["suggestions"][0]["order"] == "#1001"


def test_nothing_is_read_for_what_was_settled_outside(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(**NO_IDS), **s.APPROVED, **NOWHERE)

    run(desk(effects_from="2026-12-01T00:00:00Z"))

    assert details_read(world) == []


def test_a_denied_return_whose_goods_never_came_leaves_its_units_open_for_an_orphan(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=9), **s.ANNOUNCED | {"return_status": "Closed"}, total=108)
    s.second(world, s.back(quantity=10, **NO_IDS), **s.APPROVED, **NOWHERE, total=120)
    place = desk()
    run(place)

    assert s.state(place) == "denied"
    (suggestion,) = suggestions(place, "R2")
    assert suggestion["covers"] == "1 of 1 lines"
