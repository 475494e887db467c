"""Rule 9: what can't be decided is held, named and owned; everything else goes on. Units go to the earlier return."""

import pytest

from swapsync.domain.catalogue import CATALOGUE, Code
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s
from tests.rules.test_policies_of_a_site import decide


def test_the_other_lines_of_the_return_go_on(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back("MUG"), s.back("GHOST"), **s.APPROVED)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.document_lines(place) == [("MUG", 4, 4000, 800)]
    assert s.levels(world)["default"] == 4
    assert s.levels(world, "GHOST") == s.NOWHERE
    assert (s.state(place), s.open_codes(place)) == ("held", ["SKU_NOT_ON_ORDER"])


def test_the_other_returns_of_the_order_go_on(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back("GHOST"), **s.APPROVED)
    s.second(world, **s.APPROVED)

    run(desk())

    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}


def test_a_credit_that_waits_for_a_person_holds_up_neither_credits_nor_notes_of_the_orders_other_returns(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    run(desk(push_credits="false", push_status="false"))
    clock.forward(hours=1)
    s.second(world, s.back(quantity=1), **s.APPROVED, total=12, updated=clock.now())
    world.swap.change_return("R1", products=[s.back(quantity=2, product_id="R1-1")], total=24)
    place = desk()

    run(place)
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-12.00"}
    assert [token for token in s.tokens(world) if ":R2:" in token] == [
        f"swap:R2:{milestone}:1" for milestone in ("authorised", "received", "credited")
    ]
    assert s.open_codes(place) == ["RETURN_CHANGED_AFTER_CREDIT"]
    decide(place, "RETURN_CHANGED_AFTER_CREDIT", "accept")
    run(place)
    assert s.credits(world)["swap:R1:credit:1"] == "-48.00"


def test_what_is_held_names_code_owner_return_order_and_a_due_time(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, s.back("GHOST"), **s.APPROVED)
    place = desk()

    run(place)

    (row,) = s.open_exceptions(place)
    entry = CATALOGUE[Code(row.code)]
    assert (row.owner, row.severity) == (entry.owner, entry.severity)
    assert (row.return_id, row.rma_number, row.order_name, row.sku) == ("R1", "RMA-1", "#1001", "GHOST")
    assert (row.opened_at, row.due_at) == (clock.now(), clock.now() + entry.due_after)
    assert "GHOST" in row.detail


def test_the_earlier_submission_gets_the_units_and_the_one_that_exceeds_the_rest_is_held(
    desk: Desk, world: World
) -> None:
    s.order(world)
    s.second(world, s.back(quantity=7), **s.APPROVED, total=84)
    s.returned(world, **s.APPROVED)
    place = desk(restock_on="swap_approved")

    run(place)

    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    assert s.levels(world)["default"] == 4
    assert s.open_codes(place, "R2") == ["QUANTITY_EXCEEDS_ORDER"]
    (exception,) = s.open_exceptions(place)
    assert "RMA-1" in exception.detail


def test_it_is_submission_that_counts_and_not_arrival_or_approval(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    s.second(world, s.back(quantity=7), **s.APPROVED, total=84)
    place = desk()

    run(place)

    assert s.money_writes(world) == []
    assert s.open_codes(place, "R2") == ["QUANTITY_EXCEEDS_ORDER"]
    assert s.open_codes(place, "R1") == []


def test_what_was_credited_keeps_its_units_whoever_was_submitted_first(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.second(world, s.back(quantity=8), **s.APPROVED, total=96)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    s.returned(world, **s.APPROVED, updated=clock.now())
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-96.00"}
    assert s.open_codes(place, "R1") == ["QUANTITY_EXCEEDS_ORDER"]


@pytest.mark.parametrize("called_off", ["Cancelled", "Expired"])
def test_units_of_a_return_that_is_called_off_are_free_again(
    desk: Desk, world: World, clock: FixedClock, called_off: str
) -> None:
    s.order(world)
    s.returned(world)
    s.second(world, s.back(quantity=7), **s.APPROVED, total=84)
    place = desk()
    run(place)

    clock.forward(minutes=5)
    world.swap.change_return("R1", return_status=called_off)
    run(place)

    assert s.credits(world) == {"swap:R2:credit:1": "-84.00"}
    assert s.open_codes(place) == []


def test_two_lines_of_one_return_compete_too(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=6), s.back(quantity=6), **s.APPROVED, total=144)
    place = desk()

    run(place)

    assert s.document_lines(place) == [("MUG", 6, 6000, 1200)]
    assert s.open_codes(place) == ["QUANTITY_EXCEEDS_ORDER"]


@pytest.mark.parametrize(
    ("path", "fails"),
    [
        ("/v2/external/returns", {"poll_returns"}),
        ("/api/v1/purchases?", {"poll_orders"}),
        ("/transactions", {"push_credits"}),
        ("/stock-locations", {"push_restocks"}),
    ],
)
def test_the_other_jobs_go_on(desk: Desk, world: World, clock: FixedClock, path: str, fails: set[str]) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, "poll_returns", "poll_orders", "reconcile")
    method = "GET" if path.endswith("?") else None
    world.faults.add(Fault(kind="lost_reply_before", path_contains=path.rstrip("?"), method=method, times=None))

    records = run(place)

    assert {name for name, record in records.items() if record.status == "failed"} == fails
    assert [record.error for record in records.values() if record.status == "failed"] != [None]


def test_one_orders_trouble_delays_no_other_orders_credit_or_note(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.order(world, platform_id="5002", visible="#1002")
    s.returned(world, **s.APPROVED)
    s.second(world, **s.APPROVED, order_id="5002", order_name="#1002")
    place = desk()
    world.faults.add(Fault(kind="status", status=500, path_contains="/platform/5001/", times=None))

    for _ in range(3):
        run(place)
        clock.forward(minutes=5)

    assert s.credits(world, "5001") == {}
    assert s.credits(world, "5002") == {"swap:R2:credit:1": "-48.00"}
    assert s.tokens(world, "5002") == ["swap:R2:authorised:1", "swap:R2:received:1", "swap:R2:credited:1"]
