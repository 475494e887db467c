"""Every exception code: opened by what comes over the wire, closed by itself, and each of its actions carried out.

``KINDS`` has an entry for each code; a code or an action of the catalogue that it lacks fails a test. ``FURTHER`` are
causes of a code that go another way through the work than the one in ``KINDS``.
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
from swapsync.store.outbox import Kind as OutboxKind
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


def two_more_announced_after_the_credit(stage: Stage) -> None:
    a_return()(stage)
    stage.clock.forward(hours=1)
    on_the_line(item_count=6)(stage)
    assert (stage.credits, s.levels(stage.world)["inspection"]) == (CREDITED, 4)


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
    s.found(stage.place, "sellable", 4)
    stage.later()
    assert (stage.credits, s.levels(stage.world)["default"]) == ({}, None)


def back_in_swap(stage: Stage) -> None:
    s.returned(stage.world, **s.DELIVERED)
    stage.later(hours=25)


def an_order_repriced_between_two_credits(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk()
    s.found(stage.place, "sellable", 1)
    stage.later()
    repriced("80.00", "16.00")(stage)
    s.found(stage.place, "sellable", 1)
    stage.later()
    assert stage.credits == {"swap:R1:credit:1": "-12.00"}


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


def refused(path: str) -> Fault:
    return Fault(kind="status", status=422, path_contains=path)


def a_refused_note(stage: Stage) -> None:
    stage.world.faults.add(refused("/history"))
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk()


def a_refused_credit(stage: Stage) -> None:
    stage.world.faults.add(refused("/transactions"))
    a_return()(stage)
    assert stage.credits == {}


def a_refused_stock_level(stage: Stage) -> None:
    stage.world.faults.add(refused("/batch-update-stock"))
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.desk()
    assert s.levels(stage.world)["inspection"] is None


def a_refused_restock(stage: Stage) -> None:
    s.order(stage.world)
    s.returned(stage.world, **s.DELIVERED)
    stage.world.sparklayer.set_level("MUG", "default", 20)
    stage.desk()
    stage.world.faults.add(Fault(kind="status", status=422, path_contains="/batch-update-stock", after=1))
    inspected(stage)
    assert s.levels(stage.world)["default"] == 20


def a_refused_report_to_swap(stage: Stage) -> None:
    stage.world.faults.add(refused("quality-control"))
    s.order(stage.world, payment_method="platform_upfront")
    s.returned(stage.world, **s.DELIVERED)
    stage.desk(swap_qc_updates="true")
    inspected(stage)
    assert stage.world.swap.quality_control == []


def a_refund_above_the_worth(stage: Stage) -> None:
    a_return(
        {"payment_method": "platform_upfront"}, settings={"amount_tolerance": "1"}, total_refunded=Decimal("60.00")
    )(stage)


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
        [failed] = list_outbox(connection, states=["failed"]).rows
        retry(connection, stage.place.slug, [failed["id"]], stage.clock.now())
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


def it_is_left_at_the_credit(stage: Stage) -> None:
    assert (stage.credits, s.open_codes(stage.place)) == (CREDITED, [])
    assert s.levels(stage.world)["inspection"] == 6, "the goods are there, whatever becomes of the money"


def the_two_more_are_credited(stage: Stage) -> None:
    assert stage.credits == CREDITED | {"swap:R1:credit:2": "-24.00"}
    assert (s.levels(stage.world)["inspection"], s.open_codes(stage.place)) == (6, [])


def the_next_credit_goes_by_the_new_price(stage: Stage) -> None:
    assert stage.credits == {"swap:R1:credit:1": "-12.00", "swap:R1:credit:2": "-7.20"}
    assert s.open_codes(stage.place) == []


def nothing_more_is_credited(stage: Stage) -> None:
    assert (stage.credits, s.open_codes(stage.place)) == ({"swap:R1:credit:1": "-12.00"}, [])
    assert s.levels(stage.world)["default"] == 2


def it_goes_on_without_swap(stage: Stage) -> None:
    credited(stage)
    assert (s.levels(stage.world)["default"], s.open_codes(stage.place)) == (4, [])
    assert s.staged(stage.place).logistics == "vanished"


def denied_and_its_goods_are_sold_again(stage: Stage) -> None:
    denied(stage)
    assert s.levels(stage.world) == {"inspection": 0, "default": 4, "damaged": None}
    assert s.open_codes(stage.place) == []


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
    given_up(OutboxKind.NOTE)(stage)


def given_up(kind: OutboxKind) -> Step:
    """It is not tried again, and nobody is asked about it again."""

    def follows(stage: Stage) -> None:
        stage.later(days=2)
        assert s.undelivered(stage.place) == [(kind, "written_off")]
        assert s.open_codes(stage.place) == []

    return follows


def a_further_return_is_understood(line: dict[str, Any] | None = None, **word: str) -> Step:
    """Another spelling of the word that was mapped, on another return."""

    def follows(stage: Stage) -> None:
        credited(stage)
        s.second(stage.world, s.back(quantity=1, **(line or {})), **s.APPROVED | word)
        stage.later()
        assert stage.credits == CREDITED | {"swap:R2:credit:1": "-12.00"}

    return follows


def the_stock_level_is_set(stage: Stage) -> None:
    assert (s.levels(stage.world)["inspection"], s.undelivered(stage.place)) == (4, [])


def the_units_are_restocked(stage: Stage) -> None:
    assert (s.levels(stage.world)["inspection"], s.levels(stage.world)["default"]) == (0, 24)
    assert s.undelivered(stage.place) == []


def swap_is_told(stage: Stage) -> None:
    assert [report["return_qty"] for report in stage.world.swap.quality_control] == [4]
    assert s.undelivered(stage.place) == []


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
        two_more_announced_after_the_credit,
        on_the_line(item_count=4),
        {Action.ACCEPT: ("", the_two_more_are_credited), Action.DENY: ("", it_is_left_at_the_credit)},
    ),
    Code.RETURN_VANISHED: Kind(
        vanished,
        back_in_swap,
        {
            Action.ACCEPT: ("", it_goes_on_without_swap),
            Action.DENY: ("", denied_and_its_goods_are_sold_again),
        },
    ),
    Code.ORDER_CHANGED: Kind(
        an_order_repriced_between_two_credits,
        repriced("100.00", "20.00"),
        {
            Action.ACCEPT: ("", the_next_credit_goes_by_the_new_price),
            Action.DENY: ("", nothing_more_is_credited),
        },
    ),
    Code.UNKNOWN_VALUE: Kind(
        a_return(return_status="Teleported"),
        at_swap(return_status="Closed"),
        {Action.MAP: ("closed", a_further_return_is_understood(return_status="tele-ported"))},
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
FURTHER: dict[str, tuple[Code, Kind]] = {
    "a refund by the gateway": (
        Code.AMOUNT_MISMATCH,
        Kind(
            a_refund_above_the_worth,
            at_swap(total_refund_value_customer_currency=Decimal("48.00")),
            {Action.ACCEPT: ("", it_stays_closed)},
        ),
    ),
    "a delivery status": (
        Code.UNKNOWN_VALUE,
        Kind(
            a_return(delivery_status="Beamed"),
            at_swap(delivery_status="Delivered"),
            {Action.MAP: ("delivered", a_further_return_is_understood(delivery_status="BEAM-ED"))},
        ),
    ),
    "a quality control status": (
        Code.UNKNOWN_VALUE,
        Kind(
            a_return(quality_control_status="Splendid"),
            at_swap(quality_control_status="Approved"),
            {Action.MAP: ("approved", a_further_return_is_understood(quality_control_status="splen did"))},
        ),
    ),
    "a return type": (
        Code.UNKNOWN_VALUE,
        Kind(
            a_return(line={"return_type": "Barter"}),
            on_the_line(return_type="Refund"),
            {Action.MAP: ("credit", a_further_return_is_understood({"return_type": "bar-ter"}))},
        ),
    ),
    "a credit": (
        Code.DELIVERY_FAILED,
        Kind(a_refused_credit, delivered_by_the_outbox, {Action.RETRY: ("", credited)}),
    ),
    "a stock level": (
        Code.DELIVERY_FAILED,
        Kind(
            a_refused_stock_level,
            delivered_by_the_outbox,
            {
                Action.RETRY: ("", the_stock_level_is_set),
                Action.WRITE_OFF: ("", given_up(OutboxKind.STOCK_LEVEL)),
            },
        ),
    ),
    "a restock": (
        Code.DELIVERY_FAILED,
        Kind(
            a_refused_restock,
            delivered_by_the_outbox,
            {
                Action.RETRY: ("", the_units_are_restocked),
                Action.WRITE_OFF: ("", given_up(OutboxKind.RESTOCK)),
            },
        ),
    ),
    "a report to Swap": (
        Code.DELIVERY_FAILED,
        Kind(
            a_refused_report_to_swap,
            delivered_by_the_outbox,
            {
                Action.RETRY: ("", swap_is_told),
                Action.WRITE_OFF: ("", given_up(OutboxKind.QUALITY_CONTROL)),
            },
        ),
    ),
}
CASES: dict[str, tuple[Code, Kind]] = {code: (code, kind) for code, kind in KINDS.items()} | {
    f"{code} of {what}": (code, kind) for what, (code, kind) in FURTHER.items()
}
ACTIONS = [(case, action) for case, (_, kind) in CASES.items() for action in kind.actions]
DECIDED = [code for code, kind in KINDS.items() if kind.closes is only_a_person]
SELF_CLOSING = [case for case in CASES if case not in DECIDED]


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


def opened(stage: Stage, case: str, opens: Step | None = None) -> Any:
    """Has the cause of a case come about, and returns the one open exception of its code."""
    code, kind = CASES[case]
    (opens or kind.opens)(stage)
    [exception] = [row for row in s.open_exceptions(stage.place) if row.code == code]
    return exception


def test_every_code_and_every_action_of_the_catalogue_has_its_test() -> None:
    assert set(KINDS) == set(Code)
    for code, kind in KINDS.items():
        assert set(kind.actions) == set(CATALOGUE[code].actions), code


@s.one_store_is_enough
@pytest.mark.parametrize("case", CASES)
def test_it_opens_once_with_its_owner_and_its_due_time(stage: Stage, case: str) -> None:
    exception = opened(stage, case)
    code, _ = CASES[case]
    entry = CATALOGUE[code]
    assert (exception.owner, exception.severity, exception.count) == (entry.owner, entry.severity, 1)
    assert exception.due_at - exception.opened_at == entry.due_after

    stage.later()
    assert [row.id for row in s.open_exceptions(stage.place) if row.code == code] == [exception.id]


@s.one_store_is_enough
@pytest.mark.parametrize("case", SELF_CLOSING)
def test_it_closes_by_itself_when_its_cause_is_gone(stage: Stage, case: str) -> None:
    exception = opened(stage, case)
    code, kind = CASES[case]
    kind.closes(stage)
    [closed] = [row for row in s.all_exceptions(stage.place) if row.id == exception.id]
    assert (closed.status, stage.stands(code)) == ("resolved", ["resolved"])
    assert closed.resolution.startswith("closed by itself")
    assert closed.resolution.endswith(CLOSED_BY.get(code, ")"))


@s.one_store_is_enough
@pytest.mark.parametrize("case", DECIDED)
def test_it_stays_open_until_a_person_decides(stage: Stage, case: str) -> None:
    exception = opened(stage, case)
    _, kind = CASES[case]
    kind.closes(stage)
    assert exception.id in [row.id for row in s.open_exceptions(stage.place)]


def test_the_catalogue_says_which_of_them_only_a_person_closes() -> None:
    assert {code for code in Code if CATALOGUE[code].closes == "it is decided"} == set(DECIDED)


@s.one_store_is_enough
@pytest.mark.parametrize(("case", "action"), ACTIONS)
def test_its_action_is_carried_out_in_the_next_cycle(stage: Stage, case: str, action: Action) -> None:
    _, kind = CASES[case]
    exception = opened(stage, case, kind.opens_for.get(action))
    value, follows = kind.actions[action]
    rule(stage.place.store, exception.id, action, value=value, note="tested", actor="fiona", now=stage.clock.now())
    stage.later(minutes=15)
    follows(stage)
