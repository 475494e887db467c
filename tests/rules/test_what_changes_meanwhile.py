"""A return or an order that changes, is cancelled or vanishes, before and after the credit: a person decides."""

from decimal import Decimal
from typing import Any

import pytest

from swapsync.jobs.cycle import JOBS
from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World
from swapsync.store import outbox
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s
from tests.rules.test_policies_of_a_site import decide

BUT_CREDITS = [job for job in JOBS if job != "push_credits"]


def change(world: World, clock: FixedClock, **fields: Any) -> None:
    """Swap changes the return, an hour later."""
    clock.forward(hours=1)
    world.swap.change_return("R1", **fields)


def lines_with(world: World, **fields: Any) -> list[dict[str, Any]]:
    """The return's lines with other fields."""
    return [line | fields for line in world.swap.get_return("R1")["products"]]


# -- a credit that is decided and not yet delivered


def overtake(world: World, clock: FixedClock, what: str) -> str:
    """Something changes that the credit of R1 rests on; returns the code that asks about it."""
    if what == "lines":
        change(world, clock, products=lines_with(world, item_count=2), total=24)
    elif what == "cancelled":
        change(world, clock, return_status="Cancelled")
    elif what == "order cancelled":
        cancel_order(world, clock)
    else:
        clock.forward(hours=1)
        s.order(world, s.sold(net="80.00", tax="16.00"), updated=clock.now())
    return "ORDER_CHANGED" if "order" in what else "RETURN_CHANGED_AFTER_CREDIT"


def cancel_order(world: World, clock: FixedClock) -> None:
    clock.forward(hours=1)
    cancelled = [package | {"type": "cancelled"} for package in world.sparklayer.purchases["5001"]["packages"]]
    world.sparklayer.change_purchase("5001", packages=cancelled, calculated_fulfilment_status="cancelled")


@pytest.mark.parametrize("what", ["lines", "cancelled", "order cancelled", "order repriced"])
def test_a_credit_that_was_decided_stays_here_while_what_it_rests_on_is_another_by_now(
    desk: Desk, world: World, clock: FixedClock, what: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(amount_tolerance="1000")
    run(place, *BUT_CREDITS)
    code = overtake(world, clock, what)
    run(place)
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == ({}, [code], "held")


def test_a_credit_is_not_sent_before_a_changed_return_is_decided_on_again(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, *BUT_CREDITS)
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    run(place, "poll_returns", "push_credits")
    assert s.credits(world) == {}


def test_a_person_lets_the_credit_stand_and_it_goes_out_as_it_was_issued(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place, *BUT_CREDITS)
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    run(place)
    decide(place, "RETURN_CHANGED_AFTER_CREDIT", "accept")
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])


@pytest.mark.parametrize("what", ["lines", "cancelled", "order cancelled"])
def test_a_person_denies_it_and_the_untried_credit_is_withdrawn_for_good(
    desk: Desk, world: World, clock: FixedClock, what: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(amount_tolerance="1000")
    run(place, *BUT_CREDITS)
    code = overtake(world, clock, what)
    run(place)
    decide(place, code, "deny")
    run(place)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, [])
    assert s.state(place) == ("none" if what == "cancelled" else "denied")
    assert [(note.number, note.state) for note in s.documents(place)] == [("CN-000001", "void")]


def test_a_denial_because_the_order_has_another_price_withdraws_the_credit_and_asks_before_the_new_price_counts(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk(amount_tolerance="1000")
    run(place, *BUT_CREDITS)
    code = overtake(world, clock, "order repriced")
    run(place)
    decide(place, code, "deny")
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == ({}, ["APPROVAL_NEEDED"], "held")
    assert [(note.number, note.state) for note in s.documents(place)] == [("CN-000001", "void")]
    decide(place, "APPROVAL_NEEDED", "credit")
    run(place)
    assert s.credits(world) == {"swap:R1:credit:2": "-38.40"}


@pytest.mark.parametrize(("kind", "stands"), [("lost_reply_after", True), ("lost_reply_before", False)])
def test_a_credit_that_may_be_out_when_its_return_changes_is_looked_for_and_not_sent(
    desk: Desk, world: World, clock: FixedClock, kind: Any, stands: bool
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(Fault(kind=kind, method="PUT", path_contains="/transactions", times=2))
    place = desk()
    run(place)
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    for _ in range(2):
        run(place)
        clock.forward(minutes=10)
    assert s.credits(world) == ({"swap:R1:credit:1": "-48.00"} if stands else {})
    assert [note.state for note in s.documents(place)] == ["delivered" if stands else "pending"]
    assert s.open_codes(place) == ["RETURN_CHANGED_AFTER_CREDIT"]


def test_a_refused_credit_is_withdrawn_too_and_with_it_the_exception_about_its_delivery(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    place = desk()
    run(place)
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    run(place)
    assert s.open_codes(place) == ["DELIVERY_FAILED", "RETURN_CHANGED_AFTER_CREDIT"]
    decide(place, "RETURN_CHANGED_AFTER_CREDIT", "deny")
    with place.store.transaction() as connection:
        assert outbox.retry(connection, place.slug, [1, 2, 3], clock.now()) == []
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == ({}, [], "denied")
    assert [(note.number, note.state) for note in s.documents(place)] == [("CN-000001", "void")]


@pytest.mark.parametrize(
    "doubts",
    [
        [Fault(kind="lost_reply_after", method="PUT"), Fault(kind="status", method="PUT", status=422)],
        [Fault(kind="cut_off", method="PUT", times=2), Fault(kind="status", method="PUT", status=422)],
    ],
    ids=["in one call", "an hour later"],
)
def test_a_refused_credit_that_may_stand_outside_from_an_earlier_try_is_not_withdrawn(
    desk: Desk, world: World, clock: FixedClock, doubts: list[Fault]
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(*doubts)
    place = desk()
    run(place)
    clock.forward(hours=1)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    run(place)
    decide(place, "RETURN_CHANGED_AFTER_CREDIT", "deny")
    assert [note.state for note in s.documents(place)] == ["failed"]
    assert s.open_codes(place) == ["DELIVERY_FAILED"]
    decide(place, "DELIVERY_FAILED", "retry")
    run(place)
    assert [note.state for note in s.documents(place)] == ["delivered"]


def test_a_denied_line_leaves_the_credits_of_other_lines_and_withdraws_its_own(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world, s.sold(), s.sold("CUP"))
    s.returned(world, s.back(), s.back("CUP"), s.back("GHOST"), **s.DELIVERED, total=108)
    place = desk(push_credits="false")
    run(place)
    for sku in ("MUG", "CUP"):
        s.found(place, "sellable", 2, sku=sku)
        run(place)
    states = lambda: [note.state for note in s.documents(place)]  # noqa: E731
    decide(place, "SKU_NOT_ON_ORDER", "deny")
    assert states() == ["pending", "pending"]

    s.found(place, "damaged", 2, sku="CUP")
    run(place)
    decide(place, "INSPECTION_REVIEW", "deny")
    assert states() == ["pending", "void"]
    run(desk())
    run(desk())
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00", "swap:R1:credit:3": "-24.00"}


def test_a_refused_approval_withdraws_nothing_that_was_let_out_before(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, s.back(quantity=6), **s.DELIVERED, total=72)
    place = desk(push_credits="false", approve_above="40.00")
    for units in (1, 5):
        run(place)
        s.found(place, "sellable", units)
    run(place)
    decide(place, "APPROVAL_NEEDED", "deny")
    assert [note.state for note in s.documents(place)] == ["pending"]


# -- after the credit


@pytest.mark.parametrize(
    "fields",
    [
        {"quality_control_status": "Not Approved"},
        {"quality_control_status": "Missing"},
        {"return_status": "Open"},
        {"delivery_status": "In-Transit"},
    ],
)
def test_swap_takes_back_the_word_that_the_credit_rested_on(
    desk: Desk, world: World, clock: FixedClock, fields: dict[str, Any]
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    change(world, clock, **fields)
    run(place)
    assert s.open_codes(place) == ["RETURN_CHANGED_AFTER_CREDIT"]
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}
    change(world, clock, return_status="Closed", delivery_status="Delivered", quality_control_status="Approved")
    run(place)
    assert s.open_codes(place) == []


def test_a_credit_by_the_warehouses_finding_does_not_rest_on_swaps_word(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "sellable", 4)
    run(place)
    change(world, clock, return_status="Closed", quality_control_status="Not Approved")
    run(place)
    assert (s.open_codes(place), s.state(place)) == ([], "credited")


def test_an_order_line_that_changes_after_the_credit_is_shown_and_nothing_more_is_credited_for_it(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "sellable", 1)
    run(place)
    clock.forward(hours=1)
    s.order(world, s.sold(net="80.00", tax="16.00"), updated=clock.now())
    run(place)
    assert s.open_codes(place) == ["AMOUNT_MISMATCH", "ORDER_CHANGED"]
    s.found(place, "sellable", 1)
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-12.00"}
    decide(place, "ORDER_CHANGED", "accept")
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-12.00", "swap:R1:credit:2": "-7.20"}


def test_a_finished_return_is_looked_at_again_when_its_order_changes(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    assert s.state(place) == "credited"
    clock.forward(hours=1)
    s.order(world, s.sold(net="80.00", tax="16.00"), updated=clock.now())
    run(place)
    assert "ORDER_CHANGED" in s.open_codes(place)


def test_an_order_is_not_read_again_because_of_our_own_credit(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    clock.forward(hours=1)
    run(place)
    assert (
        len(world.calls("GET", "/purchases/platform/5001"))
        == len(
            [
                e
                for e in world.calls("GET", "/purchases/platform/5001")
                if e.path.endswith(("/history", "/transactions"))
            ]
        )
        + 1
    )


def test_a_person_lets_the_credits_of_a_cancelled_order_stand(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    cancel_order(world, clock)
    run(place)
    assert (s.open_codes(place), s.state(place)) == (["ORDER_CHANGED"], "held")
    decide(place, "ORDER_CHANGED", "accept")
    run(place)
    assert (s.open_codes(place), s.state(place)) == ([], "credited")
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def cancel_the_order(world: World, clock: FixedClock) -> None:
    """SparkLayer cancels the usual order, an hour later."""
    clock.forward(hours=1)
    cancelled = [package | {"type": "cancelled"} for package in world.sparklayer.purchases["5001"]["packages"]]
    world.sparklayer.change_purchase("5001", packages=cancelled, calculated_fulfilment_status="cancelled")


@pytest.mark.parametrize("answer", ["accept", "deny"])
def test_goods_of_a_cancelled_order_move_by_their_findings_whatever_a_person_decides_of_the_money(
    desk: Desk, world: World, clock: FixedClock, answer: str
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    cancel_the_order(world, clock)
    run(place)
    decide(place, "ORDER_CHANGED", answer)
    run(place)
    s.found(place, "sellable", 4)
    change(world, clock, return_status="Closed", quality_control_status="Approved")
    run(place)
    assert s.levels(world) == {"inspection": 0, "default": 4, "damaged": None}
    credited = {"swap:R1:credit:1": "-48.00"} if answer == "accept" else {}
    assert (s.credits(world), s.open_codes(place)) == (credited, [])
    assert s.state(place) == ("credited" if answer == "accept" else "denied")


def test_goods_of_a_denied_cancelled_order_that_nobody_inspects_are_reported(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    cancel_the_order(world, clock)
    run(place)
    decide(place, "ORDER_CHANGED", "deny")
    run(place)
    assert s.open_codes(place) == []
    clock.forward(days=60)
    run(place)
    assert s.open_codes(place) == ["INSPECTION_OVERDUE"]


def test_goods_of_a_return_whose_change_was_denied_move_by_their_findings(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    place = desk()
    run(place)
    change(world, clock, products=lines_with(world, item_count=2), total=24)
    run(place)
    decide(place, "RETURN_CHANGED_AFTER_CREDIT", "deny")
    s.found(place, "sellable", 2)
    run(place)
    assert s.levels(world) == {"inspection": 0, "default": 2, "damaged": None}
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])


# -- a return that Swap no longer has


def test_a_return_that_two_sweeps_do_not_find_has_vanished_and_nothing_follows_until_it_is_back(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    row = world.swap.get_return("R1")
    world.swap.delete_return("R1")
    clock.forward(hours=25)
    run(place)
    assert s.open_codes(place) == []
    clock.forward(hours=25)
    run(place)
    assert (s.open_codes(place), s.staged(place).logistics, s.state(place)) == (["RETURN_VANISHED"], "vanished", "held")
    s.found(place, "sellable", 4)
    run(place)
    assert s.credits(world) == {}
    world.swap.put_return(row)
    clock.forward(hours=25)
    run(place)
    assert (s.open_codes(place), s.credits(world)) == ([], {"swap:R1:credit:1": "-48.00"})


def vanish(place: Workplace, world: World, clock: FixedClock) -> None:
    """Swap has the return no more, which two sweeps find."""
    world.swap.delete_return("R1")
    for _ in range(2):
        clock.forward(hours=25)
        run(place)


@pytest.mark.parametrize(
    ("action", "credits"),
    [
        ("accept", {"swap:R1:credit:1": "-24.00", "swap:R1:credit:2": "-24.00"}),
        ("deny", {"swap:R1:credit:1": "-24.00"}),
    ],
)
def test_a_return_that_vanishes_after_a_credit_keeps_it_and_a_person_says_whether_it_goes_on(
    desk: Desk, world: World, clock: FixedClock, action: str, credits: dict[str, str]
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    s.found(place, "sellable", 2)
    run(place)
    vanish(place, world, clock)
    s.found(place, "sellable", 2)
    run(place)
    assert (s.open_codes(place), s.state(place)) == (["RETURN_VANISHED"], "held")
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00"}
    assert [note.state for note in s.documents(place)] == ["delivered"]
    assert s.levels(world)["default"] == 2
    decide(place, "RETURN_VANISHED", action)
    run(place)
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == (credits, [], "credited")
    assert s.levels(world)["default"] == 4, "the goods are there, whatever becomes of the money"


@pytest.mark.parametrize(
    ("action", "credits", "document"),
    [("accept", {"swap:R1:credit:1": "-48.00"}, "delivered"), ("deny", {}, "void")],
)
def test_a_credit_that_has_not_gone_out_when_its_return_vanishes_waits_for_a_person(
    desk: Desk, world: World, clock: FixedClock, action: str, credits: dict[str, str], document: str
) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    waiting = desk(push_credits="false")
    run(waiting)
    vanish(waiting, world, clock)
    place = desk()
    run(place)
    assert (s.credits(world), s.open_codes(place), s.state(place)) == ({}, ["RETURN_VANISHED"], "held")
    decide(place, "RETURN_VANISHED", action)
    run(place)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == (credits, [])
    assert [note.state for note in s.documents(place)] == [document]


def test_what_swap_still_shows_is_asked_for_once_a_day_and_stays(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world)
    place = desk()
    run(place)
    for _ in range(3):
        clock.forward(hours=25)
        run(place)
        run(place)
    asked = [e for e in world.calls("GET", "/returns") if "rma_number" in e.query]
    assert (len(asked), s.open_codes(place)) == (3, [])


def test_a_return_parked_in_swap_is_reported_until_it_moves_on(desk: Desk, world: World, clock: FixedClock) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED | {"return_status": "Needs Review"})
    place = desk()
    run(place)
    assert s.open_codes(place) == ["REFUND_STUCK_IN_SWAP"]
    change(world, clock, return_status="Closed", quality_control_status="Approved")
    run(place)
    assert (s.open_codes(place), s.credits(world)) == ([], {"swap:R1:credit:1": "-48.00"})


# -- an order that SparkLayer no longer has


def test_an_order_that_is_gone_before_its_lines_are_read_leaves_its_return_held_and_named(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    place = desk()
    run(place)
    world.sparklayer.delete_purchase("5001")
    s.returned(world, **s.APPROVED)
    run(place)
    assert (s.money_writes(world), s.open_codes(place), s.state(place)) == ([], ["ORPHANED_RETURN"], "held")
    assert "SparkLayer no longer has the order" in [entry.detail for entry in s.trail(place)]

    clock.forward(hours=1)
    s.order(world, updated=clock.now())
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])


def test_an_order_that_is_gone_after_its_lines_were_read_leaves_its_return_held_and_named(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    world.sparklayer.delete_purchase("5001")
    change(world, clock, return_status="Closed", quality_control_status="Approved")
    run(place)
    run(place)
    assert (s.open_codes(place), s.state(place)) == (["DELIVERY_FAILED", "ORPHANED_RETURN"], "held")
    assert [note.state for note in s.documents(place)] == ["failed"]

    decide(place, "ORPHANED_RETURN", "deny")
    run(place)
    assert (s.open_codes(place), s.state(place)) == ([], "denied")
    assert [note.state for note in s.documents(place)] == ["void"]


def test_an_order_that_is_back_is_credited_once_with_the_credit_that_was_refused(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.returned(world, **s.DELIVERED)
    place = desk()
    run(place)
    world.sparklayer.delete_purchase("5001")
    change(world, clock, return_status="Closed", quality_control_status="Approved")
    run(place)
    run(place)
    s.order(world, updated=clock.now())
    clock.forward(hours=1)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, ["DELIVERY_FAILED"])
    decide(place, "DELIVERY_FAILED", "retry")
    run(place)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({"swap:R1:credit:1": "-48.00"}, [])
    assert [note.state for note in s.documents(place)] == ["delivered"]


# -- who asked, and how much


def test_a_stranger_is_not_credited_because_the_buyers_could_not_be_read_today(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    s.buyer(world, "stranger@else.example")
    s.returned(world, **s.APPROVED, customer_email="stranger@else.example")
    place = desk()
    world.faults.add(Fault(kind="status", status=503, side="sparklayer", path_contains="/customers/", times=None))
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, [])
    world.faults.clear()
    clock.forward(hours=1)
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, ["CUSTOMER_MISMATCH"])


def test_a_site_that_may_not_read_customers_concludes_nothing_about_the_buyer(desk: Desk, world: World) -> None:
    s.order(world)
    s.returned(world, **s.APPROVED)
    world.faults.add(Fault(kind="status", status=403, side="sparklayer", path_contains="/customers/", times=None))
    records = run(desk())
    assert records["poll_orders"].status == "ok"
    assert any("nothing is concluded" in remark for remark in records["poll_orders"].remarks)
    assert s.credits(world) == {"swap:R1:credit:1": "-48.00"}


def test_a_return_that_swap_refused_gives_its_units_free_for_the_next(desk: Desk, world: World) -> None:
    s.order(world, s.sold(quantity=4, net="40.00", tax="8.00"))
    s.returned(world, **s.APPROVED | {"quality_control_status": "Not Approved"})
    s.second(world, **s.APPROVED)
    run(desk())
    assert s.credits(world) == {"swap:R2:credit:1": "-48.00"}


def test_a_gateway_refund_above_the_value_of_the_goods_is_shown_to_finance(desk: Desk, world: World) -> None:
    s.order(world, payment_method="platform_upfront")
    s.returned(world, **s.APPROVED, total_refunded=Decimal("60.00"))
    place = desk()
    run(place)
    assert (s.credits(world), s.open_codes(place)) == ({}, ["AMOUNT_MISMATCH"])
    assert "60.00" in s.open_exceptions(place)[0].detail


# -- a denial whose reason is gone


@pytest.mark.parametrize("answer", ["credit", "deny"])
@pytest.mark.parametrize("reason", ["currency", "order", "buyer"])
def test_what_was_denied_is_not_credited_because_the_reason_is_gone(
    desk: Desk, world: World, clock: FixedClock, reason: str, answer: str
) -> None:
    s.buyer(world)
    s.order(world)
    wrong, right, code = {
        "currency": ({"customer_currency": "EUR"}, {"customer_currency": "GBP"}, "CURRENCY_MISMATCH"),
        "order": ({"order_id": "404", "order_name": "#404"}, {}, "ORPHANED_RETURN"),
        "buyer": ({"customer_email": "else@else.example"}, {"customer_email": s.BUYER}, "CUSTOMER_MISMATCH"),
    }[reason]
    s.buyer(world, "else@else.example")
    s.returned(world, **s.APPROVED | wrong)
    place = desk(amount_tolerance="1000")
    run(place)
    decide(place, code, "deny")
    run(place)
    assert (s.state(place), s.open_codes(place)) == ("denied", [])
    change(world, clock, **right)
    if reason == "order":
        s.order(world, platform_id="404", visible="#404", updated=world.now())
    clock.forward(hours=2)
    run(place)
    [asked] = s.open_exceptions(place)
    assert (asked.code, asked.owner) == ("APPROVAL_NEEDED", "finance")
    assert asked.detail.startswith(f"{code} (")
    order_id = "404" if reason == "order" else "5001"
    assert (s.state(place), s.credits(world, order_id), s.levels(world)["inspection"]) == ("held", {}, 4)
    decide(place, "APPROVAL_NEEDED", answer)
    run(place)
    run(place)
    credits = {"swap:R1:credit:1": "-48.00"} if answer == "credit" else {}
    assert (s.credits(world, order_id), s.open_codes(place)) == (credits, [])
    assert s.state(place) == ("credited" if answer == "credit" else "denied")


def test_a_line_that_was_denied_is_not_credited_because_its_sku_was_taught_for_another_return(
    desk: Desk, world: World, clock: FixedClock
) -> None:
    s.order(world)
    unnamed = {"line_item_id": None, "variant_id": None}
    s.returned(world, s.back("GHOST", 2, **unnamed), **s.APPROVED)
    s.second(world, s.back("GHOST", 3, **unnamed), **s.APPROVED)
    place = desk(amount_tolerance="1000")
    run(place)
    denied, other = s.open_exceptions(place)
    rule(place.store, denied.id, "deny", actor="fina", now=clock.now())
    run(place)
    rule(place.store, other.id, "teach-alias", value="MUG", actor="cleo", now=clock.now())
    run(place)
    assert s.credits(world) == {"swap:R2:credit:1": "-36.00"}
    assert [(row.code, row.return_id) for row in s.open_exceptions(place)] == [("APPROVAL_NEEDED", "R1")]
    decide(place, "APPROVAL_NEEDED", "credit")
    run(place)
    assert s.credits(world) == {"swap:R1:credit:1": "-24.00", "swap:R2:credit:1": "-36.00"}
