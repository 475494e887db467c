"""Rule 5: the PO number travels from the order to the return, the credit note, the ledger and the history."""

import pytest

from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s


def test_the_po_number_stands_on_return_credit_note_transaction_and_note(desk: Desk, world: World) -> None:
    s.order(world, customer_reference="00123/E5")
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    assert s.staged(place).po_number == "00123/E5"
    assert [note.po_number for note in s.documents(place)] == ["00123/E5"]
    (transaction,) = world.sparklayer.transactions("5001")
    assert transaction["full_transaction"]["customer_reference"] == "00123/E5"
    (credited,) = [body for body in s.notes(world) if ":credited:" in body]
    assert "00123/E5" in credited


def test_a_pay_later_order_without_one_is_shown_and_still_credited(desk: Desk, world: World) -> None:
    s.order(world, customer_reference=None)
    s.returned(world, **s.APPROVED)
    place = desk()

    run(place)

    assert s.open_codes(place) == ["PO_NUMBER_MISSING"]
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_a_prepaid_order_needs_none(desk: Desk, world: World) -> None:
    s.order(world, customer_reference=None, payment_method="platform_upfront")
    s.returned(world, **s.APPROVED)
    place = desk(po_required="true")

    run(place)

    assert s.open_codes(place) == []


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_where_it_is_required_the_credit_waits_for_it(
    desk: Desk, world: World, clock: FixedClock, blank: str | None
) -> None:
    s.order(world, customer_reference=blank)
    s.returned(world, **s.APPROVED)
    place = desk(po_required="true")
    run(place)
    assert s.money_writes(world) == []
    assert (s.state(place), s.open_codes(place)) == ("held", ["PO_NUMBER_MISSING"])

    clock.forward(minutes=5)
    world.sparklayer.change_purchase("5001", customer_reference="PO-88")
    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert [note.po_number for note in s.documents(place)] == ["PO-88"]
    assert s.open_codes(place) == []
