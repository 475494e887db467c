"""What people decide about exceptions, up to the effect in the next cycle."""

from typing import Any

import pytest
from sqlalchemy import Row, select

from swapsync.jobs.corrections import VoidRefused, void_credit_note
from swapsync.jobs.inspection import Entry, record_findings
from swapsync.jobs.rulings import RulingRefused, assign, comment, rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World, return_line
from swapsync.store.exceptions import exceptions
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s
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


# -- a PO number belongs to the order


def test_a_po_number_typed_for_one_return_holds_for_all_returns_of_its_order(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    s.second(world, **s.APPROVED)
    s.order(world, platform_id="5002", visible="#1002", customer_reference=None)
    s.returned(world, **s.APPROVED | {"return_id": "R9", "rma_number": "RMA-9", "order_id": "5002"})
    place = desk(po_required="true", amount_tolerance="1000")
    run(place)
    first, second, other = open_ones(place)
    assert (first.return_id, second.return_id, other.return_id) == ("R1", "R2", "R9")

    rule(place.store, first.id, "type-po", value=" PO-9 ", actor="fiona", now=clock.now())
    run(place)
    clock.forward(hours=1)
    third = {"return_id": "R3", "rma_number": "RMA-3", "updated": clock.now()}
    s.returned(world, s.back(quantity=1), **s.APPROVED | third)
    run(place)

    assert s.credits(world).keys() == {f"swap:R{n}:credit:1" for n in (1, 2, 3)}
    assert [note.po_number for note in s.documents(place)] == ["PO-9"] * 3
    assert [row.return_id for row in open_ones(place)] == ["R9"]
    assert s.credits(world, "5002") == {}


def test_a_po_number_stays_with_the_order_when_the_return_it_was_typed_for_leaves_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, customer_reference=None)
    s.order(world, platform_id="5002", visible="#1002", customer_reference=None)
    s.returned(world, **s.DELIVERED)
    place = desk(po_required="true")
    run(place)
    [asked] = open_ones(place)
    rule(place.store, asked.id, "type-po", value="PO-9", actor="fiona", now=clock.now())
    clock.forward(hours=1)
    world.swap.change_return("R1", order_id="5002", order_name="#1002")
    s.second(world, **s.APPROVED | {"updated": clock.now()})
    run(place)

    assert [note.po_number for note in s.documents(place)] == ["PO-9"]
    [asked] = open_ones(place)
    assert (asked.code, asked.return_id, asked.order_name) == ("PO_NUMBER_MISSING", "R1", "#1002")


def test_an_orders_own_po_number_that_appears_later_wins(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    [asked] = open_ones(place)
    rule(place.store, asked.id, "type-po", value="PO-9", actor="fiona", now=clock.now())
    run(place)
    assert s.staged(place).po_number == "PO-9"

    clock.forward(hours=1)
    world.sparklayer.change_purchase("5001", customer_reference="PO-77")
    world.swap.change_return("R1", **s.APPROVED)
    run(place)

    assert [note.po_number for note in s.documents(place)] == ["PO-77"]


def test_a_po_number_that_comes_after_the_credit_names_the_documents_without_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    s.second(world, s.back(quantity=1), **s.APPROVED)
    place = desk(amount_tolerance="1000")
    run(place)
    void_credit_note(place.store, place.site, "CN-000002", reason="wrong", actor="fiona", now=clock.now())
    asked, _ = [row for row in open_ones(place) if row.code == "PO_NUMBER_MISSING"]

    _, remark = rule(place.store, asked.id, "type-po", value="PO-9", actor="fiona", now=clock.now())

    told = "CN-000001 issued without it: void and credit again if the buyer needs it on the document"
    assert remark == told
    [ruled] = [event for event in s.trail(place) if event.kind == "ruling"]
    assert ruled.detail == f"PO_NUMBER_MISSING: type-po PO-9 by fiona; {told}"


def test_a_po_number_that_comes_in_time_has_nothing_to_remark(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    [asked] = open_ones(place)
    assert rule(place.store, asked.id, "type-po", value="PO-9", actor="fiona", now=clock.now())[1] == ""


# -- what people type


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x\ny", r"must be one line of printable text; its character 2 is '\\n'"),
        ("\x1b[31m", r"its character 1 is '\\x1b'"),
        ("PO\u202e1", r"its character 3 is '\\u202e'"),
        ("9" * 2000, "has 2000 characters, "),
    ],
)
@s.one_store_is_enough
def test_what_people_type_is_one_line_of_printable_text(
    desk: Desk, world: World, clock: FixedClock, text: str, why: str
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    [asked] = open_ones(place)
    before = s.trail(place)

    said: dict[str, Any] = {"value": "PO-9", "note": "asked", "actor": "fiona"}
    for what in said:
        with pytest.raises(RulingRefused, match=f"the {what} .*{why}"):
            rule(place.store, asked.id, "type-po", now=clock.now(), **said | {what: text})
    with pytest.raises(RulingRefused, match=f"the name .*{why}"):
        assign(place.store, asked.id, text, actor="fiona", now=clock.now())
    with pytest.raises(RulingRefused, match=f"the comment .*{why}"):
        comment(place.store, asked.id, text, actor="fiona", now=clock.now())
    with pytest.raises(VoidRefused, match=f"the reason .*{why}"):
        void_credit_note(place.store, place.site, "CN-000001", reason=text, actor="fiona", now=clock.now())
    unexpected = Entry("RMA-1", text, "unexpected", "1", "k1")
    [(_, refused)] = record_findings(place.store, place.slug, [unexpected], actor="w", now=clock.now()).refused
    assert refused.startswith("the SKU ")
    assert (s.trail(place), len(open_ones(place))) == (before, 1)


# -- a decision that can follow another


def wrong_items(desk: Desk, world: World) -> tuple[Workplace, Row[Any]]:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "wrong_item", 2)
    run(place)
    [row] = open_ones(place)
    rule(place.store, row.id, "accept", actor="wanda", now=place.clock.now())
    run(place)
    assert (open_ones(place), s.levels(world)["inspection"]) == ([], 4)
    return place, row


def test_wrong_items_that_were_kept_can_be_written_off_later(desk: Desk, world: World) -> None:
    place, row = wrong_items(desk, world)

    rule(place.store, row.id, "write-off", note="sent back", actor="wanda", now=place.clock.now())
    run(place)

    assert (s.levels(world)["inspection"], open_ones(place)) == (2, [])
    [closed] = s.all_exceptions(place, "UNEXPECTED_ITEM")
    assert closed.resolution == "write-off by wanda: sent back"
    with pytest.raises(RulingRefused, match="resolved already: write-off by wanda"):
        rule(place.store, row.id, "write-off", actor="wanda", now=place.clock.now())


def test_only_what_can_follow_is_taken_on_a_resolved_exception(desk: Desk, world: World) -> None:
    place, row = wrong_items(desk, world)
    with pytest.raises(RulingRefused, match="resolved already: accept by wanda"):
        rule(place.store, row.id, "accept", actor="wanda", now=place.clock.now())


def test_what_was_accepted_is_not_written_off_once_more_is_asked_about_it(desk: Desk, world: World) -> None:
    place, row = wrong_items(desk, world)
    s.found(place, "wrong_item", 1)
    run(place)
    [more] = open_ones(place)

    with pytest.raises(RulingRefused, match="resolved already"):
        rule(place.store, row.id, "write-off", actor="wanda", now=place.clock.now())
    rule(place.store, more.id, "write-off", actor="wanda", now=place.clock.now())
    run(place)
    assert s.levels(world)["inspection"] == 1
