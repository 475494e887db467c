"""Each exception opens from what really comes over the wire, once, and closes by itself when its cause is gone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from swapsync.domain.catalogue import CATALOGUE, Code
from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store import outbox
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


@dataclass
class Cause:
    """What opens an exception, and what takes its cause away. ``order`` and ``returned``: changes to the usual ones."""

    code: Code
    mend: Callable[[World], None]
    order: dict[str, Any] | None = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    line: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    closed: bool = False


def at_swap(**fields: Any) -> Callable[[World], None]:
    return lambda world: world.swap.change_return("R1", **fields)


def on_the_line(**fields: Any) -> Callable[[World], None]:
    def mend(world: World) -> None:
        (line,) = world.swap.get_return("R1")["products"]
        world.swap.change_return("R1", products=[line | fields])

    return mend


def on_the_order(**fields: Any) -> Callable[[World], None]:
    return lambda world: world.sparklayer.change_purchase("5001", **fields)


def the_order_turns_up(world: World) -> None:
    s.order(world, updated=world.now())


NO_IDS = {"line_item_id": None, "variant_id": None}
CAUSES = {
    "no order": Cause(Code.ORPHANED_RETURN, the_order_turns_up, order=None),
    "no order, corrected in Swap": Cause(
        Code.ORPHANED_RETURN,
        at_swap(order_id="5001", shopify_order_name="#1001"),
        returned={"order_id": "404", "order_name": "#404"},
    ),
    "another buyer": Cause(
        Code.CUSTOMER_MISMATCH, at_swap(customer_email=s.BUYER), returned={"customer_email": "else@else.example"}
    ),
    "unknown SKU": Cause(Code.SKU_NOT_ON_ORDER, on_the_line(sku="MUG"), line={"sku": "GHOST", **NO_IDS}),
    "SKU in other writing": Cause(Code.SKU_NOT_ON_ORDER, on_the_line(sku="MUG"), line={"sku": "mug", **NO_IDS}),
    "another SKU on the same line": Cause(
        Code.SKU_CHANGED, on_the_line(sku="MUG"), line={"sku": "MUG-2026", "line_item_id": "li-MUG"}
    ),
    "more than ordered": Cause(Code.QUANTITY_EXCEEDS_ORDER, on_the_line(item_count=4), line={"quantity": 11}),
    "no PO number": Cause(
        Code.PO_NUMBER_MISSING, on_the_order(customer_reference="PO-1"), order={"customer_reference": None}
    ),
    "no PO number, credited meanwhile": Cause(
        Code.PO_NUMBER_MISSING,
        on_the_order(customer_reference="PO-1"),
        order={"customer_reference": None},
        closed=True,
    ),
    "unknown payment method": Cause(
        Code.PAYMENT_METHOD_UNKNOWN, on_the_order(payment_method="invoice"), order={"payment_method": "barter"}
    ),
    "another currency": Cause(
        Code.CURRENCY_MISMATCH, at_swap(customer_currency="GBP"), returned={"customer_currency": "EUR"}
    ),
    "unknown status": Cause(
        Code.UNKNOWN_VALUE, at_swap(return_status="Open"), returned={"return_status": "Teleported"}
    ),
    "unknown delivery status": Cause(
        Code.UNKNOWN_VALUE, at_swap(delivery_status="Delivered"), returned={"delivery_status": "Beamed"}
    ),
    "unknown quality control": Cause(
        Code.UNKNOWN_VALUE, at_swap(quality_control_status="Pending"), returned={"quality_control_status": "Odd"}
    ),
    "unknown return type": Cause(Code.UNKNOWN_VALUE, on_the_line(return_type="Refund"), line={"return_type": "Barter"}),
}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES.keys())
def test_it_opens_once_and_closes_by_itself_when_its_cause_is_gone(
    desk: Desk, world: World, clock: FixedClock, cause: Cause
) -> None:
    if cause.order is not None:
        s.order(world, **cause.order)
    s.returned(world, s.back(**cause.line), **((s.APPROVED if cause.closed else {}) | cause.returned))
    place = desk(amount_tolerance="1000", **cause.settings)
    run(place)
    (opened,) = s.open_exceptions(place)
    assert opened.code == cause.code
    assert opened.owner == CATALOGUE[cause.code].owner
    assert (opened.rma_number, opened.opened_at) == ("RMA-1", clock.now())

    clock.forward(minutes=5)
    world.swap.change_return("R1", tags="touched")
    run(place)
    assert [(row.id, row.status, row.opened_at) for row in s.all_exceptions(place)] == [
        (opened.id, "open", opened.opened_at)
    ]

    clock.forward(minutes=15)
    cause.mend(world)
    run(place)
    (closed,) = s.all_exceptions(place)
    assert (closed.id, closed.status, closed.resolved_at) == (opened.id, "resolved", clock.now())
    assert closed.resolution.startswith("closed by itself")


def test_a_payment_method_that_is_mapped_in_the_settings_releases_what_it_held(
    desk: Desk, world: World, clock: FixedClock, tmp_path: Any
) -> None:
    s.order(world, payment_method="Bank Transfer 30")
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    assert s.open_codes(place) == ["PAYMENT_METHOD_UNKNOWN"]

    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "swapsync.toml").write_text(
        '[defaults.payment_routes]\nbank_transfer_30 = "credit_note"\n[sites.default]\n'
    )
    clock.forward(minutes=5)
    place = desk()
    run(place)

    assert s.open_codes(place) == []
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_a_malformed_record_is_one_exception_until_a_readable_version_arrives(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world)
    good = world.swap.get_return("R1")
    world.swap.put_return(good | {"products": [s.back() | {"item_count": "a few"}]}, malformed=True)
    place = desk()
    for _ in range(2):
        run(place)
        clock.forward(minutes=5)
    (opened,) = s.all_exceptions(place)
    assert (opened.code, opened.status, opened.rma_number) == ("MALFORMED_RECORD", "open", "RMA-1")
    assert "item_count" in opened.detail

    world.swap.put_return(good)
    run(place)

    assert [(row.id, row.status) for row in s.all_exceptions(place)] == [(opened.id, "resolved")]
    assert s.tokens(world) == ["swap:R1:authorised:1"]


@pytest.mark.parametrize("path", ["/transactions", "/history", "/batch-update-stock"])
def test_a_refused_delivery_is_one_exception_until_it_is_delivered(
    desk: Desk, world: World, clock: FixedClock, path: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=422, path_contains=path))
    run(place)
    (opened,) = s.open_exceptions(place)
    assert (opened.code, opened.rma_number, opened.owner) == ("DELIVERY_FAILED", "RMA-1", "integration")
    assert "422" in opened.detail

    refused = s.undelivered(place)
    calls = len([e for e in s.writes(world) if path in e.path])
    clock.forward(hours=25)
    run(place)
    assert (s.undelivered(place), [row.id for row in s.all_exceptions(place)]) == (refused, [opened.id])
    assert len([e for e in s.writes(world) if path in e.path and e.status == 422]) == 1 <= calls

    with place.store.transaction() as connection:
        outbox.retry(connection, place.slug, [int(opened.subject.partition(":")[2])], clock.now())
    run(place)

    assert [(row.id, row.status) for row in s.all_exceptions(place)] == [(opened.id, "resolved")]
    assert s.undelivered(place) == []
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world)["inspection"] == 4


def test_a_delivery_that_never_gets_through_gives_up_in_the_end_and_says_so(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    world.faults.add(Fault(kind="status", status=500, method="PUT", path_contains="/transactions", times=None))

    for _ in range(14):
        run(place, "poll_returns", "poll_orders", "reconcile", "push_credits")
        clock.forward(hours=3)

    assert s.open_codes(place) == ["DELIVERY_FAILED"]
    assert [note.state for note in s.documents(place)] == ["failed"]


def test_what_came_back_after_it_was_closed_is_a_new_exception(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, customer_currency="EUR")
    place = desk()

    for currency in ("EUR", "GBP", "EUR"):
        world.swap.change_return("R1", customer_currency=currency)
        run(place, "poll_returns", "poll_orders", "reconcile")
        clock.forward(minutes=5)

    rows = s.all_exceptions(place, "CURRENCY_MISMATCH")
    assert [(row.status, row._mapping["count"]) for row in rows] == [("resolved", 1), ("open", 2)]


def test_what_closes_by_itself_names_the_change_that_closed_it(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, customer_currency="EUR")
    place = desk()
    run(place)
    clock.forward(minutes=5)
    world.swap.change_return("R1", customer_currency="GBP")
    run(place)

    [row] = s.all_exceptions(place, "CURRENCY_MISMATCH")
    assert row.resolution == "closed by itself: both are in the same currency (currency EUR -> GBP)"


def closed_by(place: Workplace, code: Code) -> str:
    """What is in brackets in the words that say why the first exception of a kind closed."""
    first = s.all_exceptions(place, code)[0]
    assert first.status == "resolved"
    return str(first.resolution).partition("(")[2].removesuffix(")")


def test_what_another_return_closes_names_it_and_what_changed_of_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=8))
    s.second(world, s.back(quantity=4))
    place = desk(amount_tolerance="1000")
    run(place)
    clock.forward(minutes=5)
    world.swap.change_return("R1", return_status="Cancelled")
    run(place)
    assert closed_by(place, Code.QUANTITY_EXCEEDS_ORDER) == "RMA RMA-1: status open -> cancelled"


def test_what_a_sweep_closes_names_the_return_that_it_did_not_find_any_more_or_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=8))
    s.second(world, s.back(quantity=4))
    place = desk(amount_tolerance="1000")
    run(place)
    row = world.swap.get_return("R1")
    world.swap.delete_return("R1")
    for _ in range(2):
        clock.forward(hours=25)
        run(place)
    assert "RMA RMA-1: logistics in_transit -> vanished" in closed_by(place, Code.QUANTITY_EXCEEDS_ORDER)

    world.swap.put_return(row)
    clock.forward(hours=25)
    run(place)
    assert "RMA RMA-1: logistics vanished -> in_transit" in closed_by(place, Code.RETURN_VANISHED)


def test_what_another_rule_of_the_site_closes_does_not_claim_that_a_fact_changed(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED, total=96)
    place = desk()
    run(place)
    clock.forward(minutes=5)
    place = desk(amount_tolerance="1000")
    run(place)
    why = "no fact of it changed; the site's rules, or what people taught, are others by now"
    assert closed_by(place, Code.AMOUNT_MISMATCH) == why


def test_what_the_order_closes_for_all_of_its_returns_says_what_the_rule_says_now(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, customer_reference=None)
    s.returned(world)
    s.second(world)
    place = desk(amount_tolerance="1000")
    run(place)
    [second] = [row for row in s.open_exceptions(place) if row.return_id == "R2"]
    rule(place.store, second.id, "type-po", value="PO-9", actor="fiona", now=clock.now())
    clock.forward(minutes=5)
    run(place)
    assert closed_by(place, Code.PO_NUMBER_MISSING) == "PO number PO-9 goes on the credit note and the notes"


def test_two_causes_of_one_kind_are_two_exceptions(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back("GHOST", **NO_IDS), s.back("PHANTOM", **NO_IDS))
    place = desk()

    run(place)

    assert sorted(row.sku for row in s.open_exceptions(place)) == ["GHOST", "PHANTOM"]
