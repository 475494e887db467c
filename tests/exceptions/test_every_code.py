"""Every exception code: opened by what comes over the wire, closed by itself, and each of its actions carried out.

``KINDS`` has an entry for each code; a code or an action of the catalogue that it lacks fails a test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from swapsync.domain.catalogue import CATALOGUE, Action, Code
from swapsync.jobs.compare import Period, compare
from swapsync.jobs.rulings import rule
from swapsync.jobs.workplace import Tally, Workplace
from swapsync.sandbox.faults import Fault
from swapsync.sandbox.world import World, stable_uuid, variant_row
from swapsync.store.outbox import retry
from swapsync.store.views import list_outbox
from tests.conftest import Desk, FixedClock, run
from tests.rules import scenario as s

CREDITED = {"swap:R1:credit:1": "-48.00"}
NO_IDS: dict[str, Any] = {"line_item_id": None, "variant_id": None}
MARCH = Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


@dataclass
class Stage:
    """Both systems, the time, and the desk once it is open."""

    world: World
    clock: FixedClock
    open_desk: Desk
    place: Workplace = field(init=False)

    def desk(self, **settings: str) -> None:
        """Opens the desk and runs a cycle."""
        self.place = self.open_desk(**{"amount_tolerance": "1000", "inspection_days": "30"} | settings)
        run(self.place)

    def later(self, **span: float) -> None:
        """Another cycle, after some time."""
        self.clock.forward(**(span or {"minutes": 15}))
        run(self.place)

    def compare(self) -> None:
        compare(self.place, Tally(), MARCH, lambda *_: None)

    def stands(self, code: Code) -> list[str]:
        """The status of each exception of a code there ever was."""
        return [row.status for row in s.all_exceptions(self.place, code)]

    @property
    def credits(self) -> dict[str, str]:
        return s.credits(self.world)

    @property
    def state(self) -> str:
        return s.state(self.place)


Step = Callable[[Stage], None]


@dataclass
class Kind:
    """How a code opens, how it closes by itself, and its actions: each with its value and what then is so.

    What ``only_a_person`` closes stays open after that step. ``opens_for``: how it opens for an action that is not
    taken on all there is of its kind.
    """

    opens: Step
    closes: Step
    actions: dict[Action, tuple[str, Step]] = field(default_factory=dict)
    opens_for: dict[Action, Step] = field(default_factory=dict)


# -- what opens them


def a_return(
    order: dict[str, Any] | None = None,
    line: dict[str, Any] | None = None,
    settings: dict[str, str] | None = None,
    **returned: Any,
) -> Step:
    """The usual return, approved in Swap, with other fields; and a cycle over it."""

    def opens(stage: Stage) -> None:
        s.order(stage.world, **(order or {}))
        s.returned(stage.world, s.back(**(line or {})), **s.APPROVED | returned)
        stage.desk(**(settings or {}))

    return opens


def an_orphan(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.APPROVED | {"order_id": "404", "order_name": "#404"})
    stage.desk()


def found(condition: str) -> Step:
    def opens(stage: Stage) -> None:
        s.order(stage.world)
        s.returned(stage.world, **s.DELIVERED)
        stage.desk()
        s.found(stage.place, condition, 4)
        stage.later()

    return opens


def twins(stage: Stage) -> None:
    s.order(stage.world, s.sold("OLD-A", variant_id="v-A"))
    s.order(stage.world, s.sold("OLD-B", variant_id="v-B"), platform_id="5002", visible="#1002")
    for variant in ("v-A", "v-B"):
        stage.world.sparklayer.put_variant(variant_row(variant, "SAME"))
    s.returned(stage.world, s.back("OLD-A"))
    s.second(stage.world, s.back("OLD-B"), order_id="5002", order_name="#1002")
    stage.desk()


def a_credit_changed_by_hand(stage: Stage) -> None:
    a_return()(stage)
    stage.compare()
    [row] = stage.world.sparklayer.transactions("5001")
    wrong = row | {"total": {"number": "-47.00", "currency": "GBP"}}
    stage.world.sparklayer.put_transaction(stable_uuid("purchase:5001"), wrong)
    stage.compare()


def set_right_by_hand(stage: Stage) -> None:
    [row] = stage.world.sparklayer.transactions("5001")
    right = row | {"total": {"number": "-48.00", "currency": "GBP"}}
    stage.world.sparklayer.put_transaction(stable_uuid("purchase:5001"), right)
    stage.compare()


def waiting_for_the_warehouse(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk(inspection_days="2")
    stage.later(days=3)


def an_uncertain_restock(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.world.sparklayer.set_level("MUG", "default", 20)
    stage.desk()
    s.found(stage.place, "sellable", 4)
    stage.world.faults.add(Fault(kind="lost_reply_after", path_contains="/batch-update-stock", after=1))
    stage.later()
    stage.world.sparklayer.set_level("MUG", "default", 22)
    stage.world.sparklayer.set_level("MUG", "inspection", 9)
    stage.later()


def a_level_changed_by_hand(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk()
    set_by_hand(7)(stage)


def changed_after_the_credit(stage: Stage) -> None:
    a_return()(stage)
    stage.clock.forward(hours=1)
    on_the_line(item_count=2)(stage)


def they_turn_up(stage: Stage) -> None:
    s.found(stage.place, "sellable", 4)
    stage.later()


def vanished(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk()
    stage.world.swap.delete_return("R1")
    stage.later(hours=25)
    stage.later(hours=25)


def back_in_swap(stage: Stage) -> None:
    s.returned(stage.world, **s.DELIVERED)
    stage.later(hours=25)


def an_order_repriced_after_its_credit(stage: Stage) -> None:
    a_return()(stage)
    repriced("80.00", "16.00")(stage)


def repriced(net: str, tax: str) -> Step:
    def closes(stage: Stage) -> None:
        stage.clock.forward(hours=1)
        s.order(stage.world, s.sold(net=net, tax=tax), updated=stage.world.now())
        stage.later()

    return closes


def a_malformed_row(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.APPROVED)
    row = stage.world.swap.get_return("R1")
    stage.world.swap.put_return(row | {"products": [s.back() | {"item_count": "a few"}]}, malformed=True)
    stage.desk()


def readable_again(stage: Stage) -> None:
    s.returned(stage.world, **s.APPROVED)
    stage.later()


def a_refused_note(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.world.faults.add(Fault(kind="status", status=422, path_contains="/history"))
    stage.desk()


def a_refused_credit(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.APPROVED)
    stage.world.faults.add(Fault(kind="status", status=422, path_contains="/transactions"))
    stage.desk()


# -- what closes them


def at_swap(**fields: Any) -> Step:
    def closes(stage: Stage) -> None:
        stage.world.swap.change_return("R1", **fields)
        stage.later()

    return closes


def on_the_line(**fields: Any) -> Step:
    def closes(stage: Stage) -> None:
        [line] = stage.world.swap.get_return("R1")["products"]
        stage.world.swap.change_return("R1", products=[line | fields])
        stage.later()

    return closes


def on_the_order(**fields: Any) -> Step:
    def closes(stage: Stage) -> None:
        stage.world.sparklayer.change_purchase("5001", **fields)
        stage.later()

    return closes


def the_order_turns_up(stage: Stage) -> None:
    s.order(stage.world, platform_id="404", visible="#404", updated=stage.world.now())
    stage.later()


def a_variant_is_renamed(stage: Stage) -> None:
    stage.world.sparklayer.put_variant(variant_row("v-B", "OTHER"))
    stage.later(hours=1)


def set_by_hand(level: int) -> Step:
    def by_hand(stage: Stage) -> None:
        stage.world.sparklayer.set_level("MUG", "inspection", level)
        stage.later(days=1)

    return by_hand


def delivered_by_the_outbox(stage: Stage) -> None:
    with stage.place.store.transaction() as connection:
        [note] = list_outbox(connection, states=["failed"]).rows
        retry(connection, stage.place.slug, [note["id"]], stage.clock.now())
    stage.later()


def only_a_person(stage: Stage) -> None:
    """Nothing else ends it: findings are never taken back, and a write that reading can't prove is not read again."""
    at_swap(return_status="Closed")(stage)
    stage.later(days=1)
    stage.compare()


def inspected(stage: Stage) -> None:
    s.found(stage.place, "sellable", 4)
    stage.later()


# -- what follows from their actions


def credited(stage: Stage) -> None:
    assert (stage.credits, stage.state) == (CREDITED, "credited")


def denied(stage: Stage) -> None:
    assert (stage.credits, stage.state) == ({}, "denied")


def all_that_is_left_is_credited(stage: Stage) -> None:
    assert stage.credits == {"swap:R1:credit:1": "-120.00"}


def it_stays_closed(stage: Stage) -> None:
    assert s.open_codes(stage.place) == []


def the_credit_stands(stage: Stage) -> None:
    assert (stage.credits, s.open_codes(stage.place)) == (CREDITED, [])


def the_po_number_travels(stage: Stage) -> None:
    [note] = s.documents(stage.place)
    assert (note.po_number, stage.credits) == ("PO-9", CREDITED)


def the_transaction_is_right_again(stage: Stage) -> None:
    assert stage.credits == CREDITED
    stage.compare()
    assert s.open_codes(stage.place) == []


def the_transaction_stays_as_it_is(stage: Stage) -> None:
    stage.compare()
    assert (stage.credits, s.open_codes(stage.place)) == ({"swap:R1:credit:1": "-47.00"}, [])


def the_wrong_items_left_inspection(stage: Stage) -> None:
    assert (s.levels(stage.world)["inspection"], s.open_codes(stage.place)) == (0, [])


def our_level_stands_again(stage: Stage) -> None:
    assert (s.levels(stage.world)["inspection"], s.open_codes(stage.place)) == (4, [])


def what_was_counted_stands_in_our_ledger(stage: Stage) -> None:
    stage.later(days=2)
    assert (s.levels(stage.world)["inspection"], s.open_codes(stage.place)) == (7, [])
    s.found(stage.place, "no_value", 1)
    stage.later()
    assert s.levels(stage.world)["inspection"] == 6


def the_level_stays(stage: Stage) -> None:
    assert (s.levels(stage.world)["default"], s.open_codes(stage.place)) == (22, [])


def the_units_are_added_again(stage: Stage) -> None:
    assert (s.levels(stage.world)["default"], s.open_codes(stage.place)) == (26, [])


def it_is_set_aside_until_another_version_comes(stage: Stage) -> None:
    stage.later()
    assert stage.stands(Code.MALFORMED_RECORD) == ["resolved"]
    row = stage.world.swap.get_return("R1")
    stage.world.swap.put_return(row | {"products": [s.back() | {"item_count": "none"}]}, malformed=True)
    stage.later()
    assert stage.stands(Code.MALFORMED_RECORD) == ["resolved", "open"]


def the_note_is_delivered(stage: Stage) -> None:
    assert "swap:R1:authorised:1" in s.tokens(stage.world)
    assert s.undelivered(stage.place) == []


def the_note_is_given_up(stage: Stage) -> None:
    assert "swap:R1:authorised:1" not in s.tokens(stage.world)
    assert ("note", "written_off") in s.undelivered(stage.place)
    assert s.open_codes(stage.place) == []


def a_further_return_with_that_word_is_understood(stage: Stage) -> None:
    assert (stage.credits, stage.state) == (CREDITED, "credited")
    s.second(stage.world, s.back(quantity=1), **s.APPROVED | {"return_status": "tele-ported"})
    stage.later()
    assert stage.credits == CREDITED | {"swap:R2:credit:1": "-12.00"}


def a_further_order_paid_that_way_is_credited(stage: Stage) -> None:
    credited(stage)
    s.order(stage.world, platform_id="5002", visible="#1002", payment_method="Barter", updated=stage.world.now())
    s.second(stage.world, order_id="5002", order_name="#1002", **s.APPROVED)
    stage.later()
    assert s.credits(stage.world, "5002") == {"swap:R2:credit:1": "-48.00"}


DENY = {Action.DENY: ("", denied)}
KINDS: dict[Code, Kind] = {
    Code.ORPHANED_RETURN: Kind(an_orphan, the_order_turns_up, DENY | {Action.LINK_ORDER: ("#1001", credited)}),
    Code.CUSTOMER_MISMATCH: Kind(
        a_return(customer_email="else@else.example"),
        at_swap(customer_email=s.BUYER),
        DENY | {Action.CONFIRM_BUYER: ("", credited)},
    ),
    Code.SKU_NOT_ON_ORDER: Kind(
        a_return(line={"sku": "GHOST", **NO_IDS}),
        on_the_line(sku="MUG"),
        DENY | {Action.TEACH_ALIAS: ("MUG", credited), Action.CHOOSE_LINE: ("li:li-MUG", credited)},
    ),
    Code.SKU_CHANGED: Kind(
        a_return(line={"sku": "MUG-2026", "line_item_id": "li-MUG"}),
        on_the_line(sku="MUG"),
        {Action.ACKNOWLEDGE: ("", it_stays_closed)},
    ),
    Code.SKU_DUPLICATE: Kind(twins, a_variant_is_renamed),
    Code.QUANTITY_EXCEEDS_ORDER: Kind(
        a_return(line={"quantity": 11}),
        on_the_line(item_count=4),
        DENY | {Action.ACCEPT: ("", all_that_is_left_is_credited)},
    ),
    Code.PO_NUMBER_MISSING: Kind(
        a_return({"customer_reference": None}, settings={"po_required": "true"}),
        on_the_order(customer_reference="PO-1"),
        {Action.TYPE_PO: ("PO-9", the_po_number_travels)},
    ),
    Code.PAYMENT_METHOD_UNKNOWN: Kind(
        a_return({"payment_method": "barter"}),
        on_the_order(payment_method="invoice"),
        {Action.MAP: ("credit_note", a_further_order_paid_that_way_is_credited)},
    ),
    Code.CURRENCY_MISMATCH: Kind(a_return(customer_currency="EUR"), at_swap(customer_currency="GBP"), DENY),
    Code.AMOUNT_MISMATCH: Kind(
        a_return(settings={"amount_tolerance": "1"}, total=Decimal("99.00")),
        at_swap(total=Decimal("48.00")),
        {Action.ACCEPT: ("", it_stays_closed)},
    ),
    Code.GATEWAY_REFUND_ON_ACCOUNT: Kind(
        a_return(total_refunded=Decimal("48.00")),
        at_swap(total_refund_value_customer_currency=Decimal("0.00")),
        DENY | {Action.CREDIT: ("", credited)},
    ),
    Code.REFUND_STUCK_IN_SWAP: Kind(a_return(return_status="Needs Review"), at_swap(return_status="Closed")),
    Code.CREDIT_MISALIGNED: Kind(
        a_credit_changed_by_hand,
        set_right_by_hand,
        {
            Action.RETRY: ("", the_transaction_is_right_again),
            Action.ACCEPT: ("", the_transaction_stays_as_it_is),
        },
    ),
    Code.INSPECTION_OVERDUE: Kind(waiting_for_the_warehouse, inspected),
    Code.INSPECTION_SHORT: Kind(found("missing"), they_turn_up, {Action.ACCEPT: ("", it_stays_closed)}),
    Code.INSPECTION_REVIEW: Kind(
        a_return(line={"return_type": "Warranty"}),
        on_the_line(return_type="Refund"),
        DENY | {Action.CREDIT: ("", credited)},
    ),
    Code.UNEXPECTED_ITEM: Kind(
        found("wrong_item"),
        only_a_person,
        {Action.ACCEPT: ("", it_stays_closed), Action.WRITE_OFF: ("", the_wrong_items_left_inspection)},
    ),
    Code.RESTOCK_DRIFT: Kind(
        a_level_changed_by_hand,
        set_by_hand(4),
        {
            Action.RETRY: ("", our_level_stands_again),
            Action.WRITE_OFF: ("", what_was_counted_stands_in_our_ledger),
        },
    ),
    Code.RESTOCK_UNCERTAIN: Kind(
        an_uncertain_restock,
        only_a_person,
        {Action.WRITTEN: ("", the_level_stays), Action.NOT_WRITTEN: ("", the_units_are_added_again)},
    ),
    Code.RETURN_CHANGED_AFTER_CREDIT: Kind(
        changed_after_the_credit,
        on_the_line(item_count=4),
        {Action.ACCEPT: ("", the_credit_stands), Action.DENY: ("", the_credit_stands)},
    ),
    Code.RETURN_VANISHED: Kind(vanished, back_in_swap, DENY | {Action.ACCEPT: ("", it_stays_closed)}),
    Code.ORDER_CHANGED: Kind(
        an_order_repriced_after_its_credit,
        repriced("100.00", "20.00"),
        {Action.ACCEPT: ("", the_credit_stands), Action.DENY: ("", the_credit_stands)},
    ),
    Code.UNKNOWN_VALUE: Kind(
        a_return(return_status="Teleported"),
        at_swap(return_status="Closed"),
        {Action.MAP: ("closed", a_further_return_with_that_word_is_understood)},
    ),
    Code.MALFORMED_RECORD: Kind(
        a_malformed_row,
        readable_again,
        {Action.ACKNOWLEDGE: ("", it_is_set_aside_until_another_version_comes)},
    ),
    Code.DELIVERY_FAILED: Kind(
        a_refused_note,
        delivered_by_the_outbox,
        DENY | {Action.RETRY: ("", the_note_is_delivered), Action.WRITE_OFF: ("", the_note_is_given_up)},
        {Action.DENY: a_refused_credit},
    ),
    Code.APPROVAL_NEEDED: Kind(
        a_return(settings={"approve_above": "40"}),
        on_the_line(item_count=1),
        DENY | {Action.CREDIT: ("", credited)},
    ),
}
ACTIONS = [(code, action) for code, kind in KINDS.items() for action in kind.actions]
DECIDED = [code for code, kind in KINDS.items() if kind.closes is only_a_person]
SELF_CLOSING = [code for code in KINDS if code not in DECIDED]


CLOSED_BY = {
    Code.SKU_DUPLICATE: "(only variant v-A carries SAME now)",
    Code.CREDIT_MISALIGNED: '(SparkLayer shows swap:R1:credit:1 of "-48.00", as the credit note says)',
    Code.RESTOCK_DRIFT: "(SparkLayer shows 4, as our ledger says)",
    Code.MALFORMED_RECORD: "a readable version arrived (swap.returns R1 was read)",
    Code.DELIVERY_FAILED: "delivered",
}
"""What the words end with that say why one of them closed by itself; those of all others with some evidence."""


@pytest.fixture
def stage(world: World, clock: FixedClock, desk: Desk) -> Stage:
    return Stage(world, clock, desk)


def opened(stage: Stage, code: Code, opens: Step | None = None) -> Any:
    """Opens a code as it opens, and returns its one open exception."""
    (opens or KINDS[code].opens)(stage)
    [exception] = [row for row in s.open_exceptions(stage.place) if row.code == code]
    return exception


def test_every_code_and_every_action_of_the_catalogue_has_its_test() -> None:
    assert set(KINDS) == set(Code)
    for code, kind in KINDS.items():
        assert set(kind.actions) == set(CATALOGUE[code].actions), code


@s.one_store_is_enough
@pytest.mark.parametrize("code", KINDS)
def test_it_opens_once_with_its_owner_and_its_due_time(stage: Stage, code: Code) -> None:
    exception = opened(stage, code)
    entry = CATALOGUE[code]
    assert (exception.owner, exception.severity, exception.count) == (entry.owner, entry.severity, 1)
    assert exception.due_at - exception.opened_at == entry.due_after

    stage.later()
    assert [row.id for row in s.open_exceptions(stage.place) if row.code == code] == [exception.id]


@s.one_store_is_enough
@pytest.mark.parametrize("code", SELF_CLOSING)
def test_it_closes_by_itself_when_its_cause_is_gone(stage: Stage, code: Code) -> None:
    exception = opened(stage, code)
    KINDS[code].closes(stage)
    [closed] = [row for row in s.all_exceptions(stage.place) if row.id == exception.id]
    assert (closed.status, stage.stands(code)) == ("resolved", ["resolved"])
    assert closed.resolution.startswith("closed by itself")
    assert closed.resolution.endswith(CLOSED_BY.get(code, ")"))


@s.one_store_is_enough
@pytest.mark.parametrize("code", DECIDED)
def test_it_stays_open_until_a_person_decides(stage: Stage, code: Code) -> None:
    exception = opened(stage, code)
    KINDS[code].closes(stage)
    assert exception.id in [row.id for row in s.open_exceptions(stage.place)]


def test_the_catalogue_says_which_of_them_only_a_person_closes() -> None:
    assert {code for code in Code if CATALOGUE[code].closes == "it is decided"} == set(DECIDED)


@s.one_store_is_enough
@pytest.mark.parametrize(("code", "action"), ACTIONS)
def test_its_action_is_carried_out_in_the_next_cycle(stage: Stage, code: Code, action: Action) -> None:
    exception = opened(stage, code, KINDS[code].opens_for.get(action))
    value, follows = KINDS[code].actions[action]
    rule(stage.place.store, exception.id, action, value=value, note="tested", actor="fiona", now=stage.clock.now())
    stage.later(minutes=15)
    follows(stage)
