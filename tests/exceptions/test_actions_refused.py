"""What an action can't do is refused in words that say what to do instead."""

from decimal import Decimal

import pytest

from swapsync.jobs.compare import compare
from swapsync.jobs.rulings import RulingRefused, forget, rule
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World, stable_uuid
from tests.conftest import Desk, run
from tests.exceptions.test_every_code import MARCH
from tests.rules import scenario as s


def refused(place: Workplace, code: str, action: str, value: str, why: str) -> None:
    [exception] = [row for row in s.open_exceptions(place) if row.code == code]
    with pytest.raises(RulingRefused, match=why):
        rule(place.store, exception.id, action, value=value, actor="fiona", now=place.clock.now())
    assert code in s.open_codes(place)


def test_a_word_can_only_mean_what_there_is(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, return_status="Teleported")
    place = desk()
    run(place)
    refused(place, "UNKNOWN_VALUE", "map", "lost", "can't mean 'lost'; choose from open, needs_review")
    refused(place, "UNKNOWN_VALUE", "map", "", "needs --value")


def test_a_figure_that_can_not_be_read_is_no_word(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world)
    world.swap.put_return(world.swap.get_return("R1") | {"total": "a lot"}, malformed=True)
    place = desk()
    run(place)
    refused(place, "UNKNOWN_VALUE", "map", "open", "no word that could be mapped")


def test_a_return_type_is_mapped_for_its_line(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(return_type="Barter"), **s.APPROVED)
    place = desk()
    run(place)
    [exception] = s.open_exceptions(place)
    rule(place.store, exception.id, "map", value="credit", actor="fiona", now=place.clock.now())
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])


def test_how_orders_without_a_payment_method_are_made_good_can_be_said_and_taken_back(desk: Desk, world: World) -> None:
    s.order(world, payment_method=None)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    [exception] = s.open_exceptions(place)
    rule(place.store, exception.id, "map", value="credit_note", actor="fiona", now=place.clock.now())
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])
    forget(place.store, "payment_method", "", actor="fiona", now=place.clock.now())


def test_a_credit_note_that_is_owed_is_not_written_off(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    place = desk()
    run(place)
    refused(place, "DELIVERY_FAILED", "write-off", "", "a credit note can't be written off")
    refused(place, "DELIVERY_FAILED", "deny", "", "say why with --note")


def test_what_is_no_credit_note_is_written_off_and_not_denied(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world)
    world.faults.add(Fault(kind="status", status=422, path_contains="/history"))
    place = desk()
    run(place)
    refused(place, "DELIVERY_FAILED", "deny", "", "only a credit note is denied")


def test_a_delivery_that_is_tried_again_is_not_written_off_meanwhile(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world)
    world.faults.add(Fault(kind="status", status=422, path_contains="/history"))
    place = desk()
    run(place)
    [failed] = s.open_exceptions(place)
    rule(place.store, failed.id, "retry", actor="fiona", now=place.clock.now())
    refused(place, "DELIVERY_FAILED", "write-off", "", "it is being tried again")


def test_a_transaction_that_is_none_of_ours_is_not_sent_again(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    [ours] = world.sparklayer.transactions("5001")
    world.sparklayer.put_transaction(
        stable_uuid("purchase:5001"), ours | {"platform_id": "swap:R1:credit:9", "total": ours["total"]}
    )
    compare(place, Tally(), MARCH, lambda *_: None)
    refused(place, "CREDIT_MISALIGNED", "retry", "", "no credit note here belongs to transaction swap:R1:credit:9")


def test_a_line_that_is_denied_leaves_the_others_alone(desk: Desk, world: World) -> None:
    s.order(world)
    ghost = s.back("GHOST", 1, line_item_id=None, variant_id=None)
    s.returned(world, s.back(), ghost, **s.APPROVED, total=Decimal("48.00"))
    place = desk()
    run(place)
    [exception] = [row for row in s.open_exceptions(place) if row.code == "SKU_NOT_ON_ORDER"]
    rule(place.store, exception.id, "deny", actor="fiona", now=place.clock.now())
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert (s.open_codes(place), s.state(place)) == ([], "credited")
