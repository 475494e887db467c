"""What people decide about exceptions, up to the effect in the next cycle."""

from typing import Any

import pytest
from sqlalchemy import Row, select

from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.rulings import RulingRefused, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, return_line
from swapsync.store.exceptions import exceptions
from tests.conftest import Desk, run
from tests.scenario import OTHER, approved, credited, returned, sold


def open_ones(place: Workplace) -> list[Row[Any]]:
    with place.store.reading() as connection:
        return list(connection.execute(select(exceptions).where(exceptions.c.status == "open")))


def decide(place: Workplace, action: str, value: str = "") -> None:
    [row] = open_ones(place)
    rule(place.store, row.id, action, value=value, actor="fiona", now=place.clock.now())
    assert open_ones(place) == []
    run(place)


def test_a_typed_po_number_releases_the_credit_and_travels_with_it(desk: Desk, world: World) -> None:
    sold(world, customer_reference=None)
    approved(world)
    place = desk(po_required="true")
    run(place)
    assert (credited(world), [row.code for row in open_ones(place)]) == ([], ["PO_NUMBER_MISSING"])

    decide(place, "type-po", "PO-77")

    [transaction] = world.sparklayer.transactions("5001")
    assert transaction["total"]["number"] == "-48.00"
    assert transaction["full_transaction"]["customer_reference"] == "PO-77"
    assert "PO PO-77" in world.sparklayer.history("5001")[-1]["body"]
    assert open_ones(place) == []


def test_a_taught_alias_matches_the_line_from_then_on(desk: Desk, world: World) -> None:
    sold(world)
    approved(world, lines=[return_line("MUG-OLD", 4)])
    place = desk()
    run(place)
    assert [row.code for row in open_ones(place)] == ["SKU_NOT_ON_ORDER"]

    decide(place, "teach-alias", "MUG")

    assert credited(world) == ["-48.00"]


def test_an_alias_for_a_sku_that_the_order_lacks_is_refused(desk: Desk, world: World) -> None:
    sold(world)
    approved(world, lines=[return_line("MUG-OLD", 4)])
    place = desk()
    run(place)
    [row] = open_ones(place)

    with pytest.raises(RulingRefused, match="no line with SKU CUP"):
        rule(place.store, row.id, "teach-alias", value="CUP", actor="fiona", now=place.clock.now())
    assert len(open_ones(place)) == 1


@pytest.mark.parametrize("name", ["#77", "77", "5001"], ids=["name", "name without its #", "platform id"])
def test_a_linked_order_settles_an_orphan(desk: Desk, world: World, name: str) -> None:
    sold(world, visible="#77")
    approved(world, order_id="9999", order_name="#9999")
    place = desk()
    run(place)
    assert [row.code for row in open_ones(place)] == ["ORPHANED_RETURN"]

    decide(place, "link-order", name)

    assert credited(world) == ["-48.00"]


def test_a_confirmed_buyer_lets_the_return_go_on(desk: Desk, world: World) -> None:
    sold(world)
    approved(world, customer_email=OTHER)
    place = desk()
    run(place)
    assert [row.code for row in open_ones(place)] == ["CUSTOMER_MISMATCH"]

    decide(place, "confirm-buyer")

    assert credited(world) == ["-48.00"]


@pytest.mark.parametrize(("action", "expected"), [("credit", ["-48.00"]), ("deny", [])])
def test_finance_decides_on_damaged_goods(desk: Desk, world: World, action: str, expected: list[str]) -> None:
    sold(world)
    returned(world)
    place = desk()
    run(place)
    found = Entry("R1", "MUG", "damaged", "4", "k1")
    record_findings(place.store, place.slug, [found], actor="wanda", now=place.clock.now())
    run(place)
    assert (credited(world), [row.code for row in open_ones(place)]) == ([], ["INSPECTION_REVIEW"])

    decide(place, action)

    assert credited(world) == expected


@pytest.mark.parametrize(("action", "expected"), [("credit", ["-48.00"]), ("deny", [])])
def test_finance_decides_on_money_that_swap_shows_as_given(
    desk: Desk, world: World, action: str, expected: list[str]
) -> None:
    sold(world)
    approved(world, total_refunded="48.00")
    place = desk()
    run(place)
    assert (credited(world), [row.code for row in open_ones(place)]) == ([], ["GATEWAY_REFUND_ON_ACCOUNT"])

    decide(place, action)

    assert credited(world) == expected


def test_an_action_that_an_exception_does_not_have_is_refused_with_those_it_has(desk: Desk, world: World) -> None:
    sold(world)
    approved(world, order_id="9999", order_name="#9999")
    place = desk()
    run(place)
    [row] = open_ones(place)

    with pytest.raises(RulingRefused, match="choose from link-order"):
        rule(place.store, row.id, "credit", actor="fiona", now=place.clock.now())
    with pytest.raises(RulingRefused, match="needs --value"):
        rule(place.store, row.id, "link-order", actor="fiona", now=place.clock.now())
