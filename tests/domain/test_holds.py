"""What holds a return or a line of it, what a person's word then changes, and what stands in the end."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Policy, ReturnFacts, Ruling, Voided
from swapsync.domain.notes import Milestone
from swapsync.domain.orders import Order
from swapsync.domain.reasons import Holds, Verdict
from swapsync.domain.returns import Condition, Delivery, Finding, Logistics, Remedy, ReturnStatus, Settlement, SwapQc
from swapsync.domain.settlement import decide
from swapsync.domain.stock import Step
from swapsync.domain.suggestions import Candidate
from tests.domain.build import (
    APPROVED,
    DELIVERED,
    USUAL,
    a_return,
    after,
    all_decided,
    changed,
    codes,
    decided,
    detail,
    facts,
    finding,
    line,
    money,
    moves,
    order,
    ruled,
    sold,
)

PREPAID = order(payment_method="platform_upfront")


def credited(**fields: object) -> ReturnFacts:
    """The usual return, confirmed by Swap, credited and delivered."""
    known = facts(a_return(**APPROVED, **fields))
    return after(known, decided(known))


def said(known: ReturnFacts, code: Code, action: Action) -> ReturnFacts:
    """The facts after a person has ruled on the one problem of this code."""
    return replace(known, rulings={**known.rulings, **ruled(decided(known), code, action)})


# -- the whole return


def test_a_vanished_return_does_nothing_until_a_person_goes_on_with_it_or_denies_it() -> None:
    known = facts(a_return(**APPROVED), vanished=True)
    decision = decided(known)
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert (decision.logistics, decision.settlement) == (Logistics.VANISHED, Settlement.HELD)
    assert detail(decision, Code.RETURN_VANISHED) == "RMA R1 is no longer in Swap"
    assert decision.problems[0].holds is Holds.EVERYTHING
    goes_on = decided(said(known, Code.RETURN_VANISHED, Action.ACCEPT))
    assert money(goes_on) == [("mug", 4, 10000, 2000)]
    denied = decided(said(known, Code.RETURN_VANISHED, Action.DENY))
    assert (denied.credit, moves(denied), denied.settlement) == ((), [("mug", "received", 4)], Settlement.DENIED)


def test_a_cancelled_order_holds_everything_and_its_end_is_what_was_credited() -> None:
    known, cancelled = facts(a_return(**APPROVED)), order(cancelled=True)
    decision = decided(known, cancelled)
    assert detail(decision, Code.ORDER_CHANGED) == "order #1001 was cancelled"
    assert (decision.credit, decision.movements, decision.settlement) == ((), (), Settlement.HELD)
    rulings = ruled(decision, Code.ORDER_CHANGED, Action.DENY)
    assert decided(replace(known, rulings=rulings), cancelled).settlement is Settlement.DENIED
    for delivered, settlement in ((True, Settlement.CREDITED), (False, Settlement.DUE)):
        done = replace(after(known, decided(known), delivered=delivered), rulings=rulings)
        assert decided(done, cancelled).settlement is settlement


@pytest.mark.parametrize("status", [ReturnStatus.NEEDS_REVIEW, ReturnStatus.ON_HOLD])
def test_a_return_that_swap_parked_is_reported_and_its_goods_go_on(status: ReturnStatus) -> None:
    decision = decided(facts(a_return(status=status, **DELIVERED), finding(Condition.SELLABLE, 4)))
    assert detail(decision, Code.REFUND_STUCK_IN_SWAP) == f"Swap shows RMA R1 as {status.replace('_', ' ')}"
    assert decision.problems[0].holds is Holds.NOTHING
    assert money(decision) == [("mug", 4, 10000, 2000)]


@pytest.mark.parametrize(
    "words",
    [
        {"qc": SwapQc.NOT_APPROVED},
        {"qc": SwapQc.MISSING},
        {"status": ReturnStatus.OPEN},
        {"delivery": Delivery.IN_TRANSIT},
    ],
)
def test_swaps_word_that_is_taken_back_after_the_credit_holds_everything(words: dict[str, object]) -> None:
    known = changed(credited(), **words)
    decision = decided(known)
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT).startswith("credited on Swap's word; Swap now says ")
    assert decision.problems[0].subject == "swap"
    assert decision.movements == ()


def test_a_credit_by_a_finding_does_not_rest_on_swaps_word() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 4))
    known = changed(after(known, decided(known)), qc=SwapQc.NOT_APPROVED)
    assert codes(decided(known)) == []


def test_what_was_credited_and_still_is_so_is_no_change() -> None:
    assert codes(decided(credited())) == []


# -- voided credits


def voided(*, delivered: bool) -> ReturnFacts:
    """A return whose credit CN1 was voided by CN2."""
    return facts(a_return(**APPROVED), voids=(Voided("CN1", "CN2", 12000, "wrong price", delivered),))


def test_what_was_voided_is_not_credited_again_by_itself() -> None:
    decision = decided(voided(delivered=True))
    assert decision.credit == ()
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT) == (
        "credit note CN1 of 120.00 GBP was voided by CN2: wrong price"
    )
    assert decision.problems[0].subject == "void:CN2"
    assert decision.settlement is Settlement.HELD


def test_a_person_may_have_it_credited_again_or_leave_it_at_that() -> None:
    again = decided(said(voided(delivered=True), Code.RETURN_CHANGED_AFTER_CREDIT, Action.ACCEPT))
    assert money(again) == [("mug", 4, 10000, 2000)]
    left = decided(said(voided(delivered=True), Code.RETURN_CHANGED_AFTER_CREDIT, Action.DENY))
    assert (left.credit, left.settlement) == ((), Settlement.DENIED)


def test_while_a_void_is_still_to_be_delivered_nothing_is_credited_again() -> None:
    decision = decided(said(voided(delivered=False), Code.RETURN_CHANGED_AFTER_CREDIT, Action.ACCEPT))
    assert decision.credit == ()
    assert "CN2 is still to be delivered" in [reason.text for reason in decision.reasons]


# -- single lines


def rivals() -> tuple[ReturnFacts, ReturnFacts]:
    """R1 brings back 3 of 4 mugs, R2 wants 2."""
    one = facts(a_return(line(quantity=3), **APPROVED))
    return one, facts(a_return(line(quantity=2), return_id="R2", day=1, **APPROVED))


def test_a_person_may_let_the_units_that_are_left_be_credited() -> None:
    one, two = rivals()
    held = all_decided(one, two)["R2"]
    assert (held.credit, held.movements) == ((), ())
    two = replace(two, rulings=ruled(held, Code.QUANTITY_EXCEEDS_ORDER, Action.ACCEPT))
    accepted = all_decided(one, two)["R2"]
    assert money(accepted) == [("mug", 1, 2500, 500)]
    assert moves(accepted) == [("mug", "received", 2)]
    assert codes(accepted) == []


def test_a_person_may_deny_what_exceeds_the_order() -> None:
    one, two = rivals()
    two = replace(two, rulings=ruled(all_decided(one, two)["R2"], Code.QUANTITY_EXCEEDS_ORDER, Action.DENY))
    denied = all_decided(one, two)["R2"]
    assert (denied.credit, denied.settlement, denied.accepted) == ((), Settlement.DENIED, {"mug": 0})
    assert moves(denied) == [("mug", "received", 2)]


def test_what_has_no_units_left_and_is_accepted_ends_as_denied() -> None:
    one = facts(a_return(**APPROVED))
    two = facts(a_return(line(quantity=2), return_id="R2", day=1, **APPROVED))
    two = replace(two, rulings=ruled(all_decided(one, two)["R2"], Code.QUANTITY_EXCEEDS_ORDER, Action.ACCEPT))
    assert all_decided(one, two)["R2"].settlement is Settlement.DENIED


def test_another_action_than_those_two_releases_no_line() -> None:
    one, two = rivals()
    problem = next(iter(all_decided(one, two)["R2"].problems))
    two = replace(two, rulings={(problem.code, problem.subject): Ruling(Action.ACKNOWLEDGE, about=problem.about)})
    assert codes(all_decided(one, two)["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_such_a_ruling_lapses_when_other_units_are_left() -> None:
    one, two = rivals()
    two = replace(two, rulings=ruled(all_decided(one, two)["R2"], Code.QUANTITY_EXCEEDS_ORDER, Action.ACCEPT))
    one = facts(a_return(line(quantity=4), **APPROVED))
    lapsed = all_decided(one, two)["R2"]
    assert codes(lapsed) == [Code.QUANTITY_EXCEEDS_ORDER]
    assert lapsed.problems == all_decided(one, replace(two, rulings={}))["R2"].problems


def test_a_problem_of_the_whole_return_names_no_sku_and_one_of_a_line_does() -> None:
    decision = decided(
        facts(a_return(line("CUP", line_item_id="1"), **APPROVED)), order(sold(line_item_id="1"), po_number="")
    )
    assert [(problem.code, problem.sku) for problem in decision.problems] == [
        (Code.PO_NUMBER_MISSING, ""),
        (Code.SKU_CHANGED, "CUP"),
    ]


def test_a_return_without_an_order_comes_with_the_orders_it_may_be_of() -> None:
    (decision,) = decide(Case(None, (facts(),), candidates=(Candidate(order()),)), Policy())
    (problem,) = decision.problems
    assert [suggestion.order for suggestion in problem.suggestions] == ["#1001"]


def test_a_held_line_names_what_it_is_about_and_its_sku() -> None:
    _, two = rivals()
    problem = all_decided(*rivals())[two.ret.return_id].problems[0]
    assert problem.detail == "2 of MUG to come back, 1 left of 4; also claimed by RMA R1"
    assert problem.about == "2 of MUG to come back, 1 left of 4"
    assert (problem.subject, problem.sku, problem.holds) == ("mug", "MUG", Holds.LINE)


def of_another_price(known: ReturnFacts) -> ReturnFacts:
    """The credits of the return, made when the order had 4 mugs for 240.00."""
    return replace(known, credited=tuple(replace(each, sold=(4, 20000, 4000)) for each in known.credited))


def test_an_order_line_that_changed_since_its_credit_is_shown_and_credited_no_further() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    known = of_another_price(after(known, decided(known)))
    known = replace(known, findings=(finding(Condition.SELLABLE, 2),))
    decision = decided(known)
    assert detail(decision, Code.ORDER_CHANGED) == (
        "MUG was credited when the order had 4 for 240.00 GBP; it has 4 for 120.00 GBP now"
    )
    assert (decision.credit, moves(decision)) == ((), [("mug", "restocked", 1)])
    goes_on = decided(said(known, Code.ORDER_CHANGED, Action.ACCEPT))
    assert money(goes_on) == [("mug", 1, 2500, 500)]


def test_an_order_line_that_is_as_it_was_is_no_change() -> None:
    known = credited()
    known = replace(known, credited=tuple(replace(each, sold=(4, 10000, 2000)) for each in known.credited))
    assert codes(decided(known)) == []


def test_a_change_of_one_line_says_nothing_of_another() -> None:
    of = order(sold(), sold("CUP", 1, 500, 100))
    known = facts(a_return(line(), line("CUP", 1), **DELIVERED), finding(Condition.SELLABLE, 4))
    known = of_another_price(after(known, decided(known, of)))
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 1, "cup")))
    assert money(decided(known, of)) == [("cup", 1, 500, 100)]


# -- goods that wait for the warehouse


def waiting(*findings: Finding, **known: object) -> ReturnFacts:
    ret = a_return(delivered_at=datetime(2026, 3, 3, tzinfo=UTC), **DELIVERED)
    return facts(ret, *findings, overdue=True, **known)


def test_goods_that_wait_too_long_are_reported() -> None:
    assert detail(decided(waiting()), Code.INSPECTION_OVERDUE) == (
        "RMA R1 is delivered since 2026-03-03 and not inspected"
    )
    undated = facts(a_return(**DELIVERED), overdue=True)
    assert detail(decided(undated), Code.INSPECTION_OVERDUE) == "RMA R1 is delivered and not inspected"


def test_goods_that_are_inspected_not_delivered_or_not_late_are_not_reported() -> None:
    assert codes(decided(waiting(finding(Condition.SELLABLE, 4)))) == []
    assert codes(decided(facts(a_return(), overdue=True))) == []
    assert codes(decided(replace(waiting(), overdue=False))) == []


def test_goods_of_which_a_part_was_inspected_wait_while_something_stands_in_inspection() -> None:
    moved = {("mug", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 1}}
    assert codes(decided(waiting(finding(Condition.SELLABLE, 1), moved=moved))) == [Code.INSPECTION_OVERDUE]
    moved = {("mug", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 4}}
    assert codes(decided(waiting(finding(Condition.SELLABLE, 1), moved=moved))) == []


# -- refunds by the gateway


@pytest.mark.parametrize(("refunded", "too_much"), [(12120, False), (12121, True)])
def test_a_gateway_refund_above_the_goods_and_the_tolerance_is_shown(refunded: int, too_much: bool) -> None:
    decision = decided(facts(a_return(refunded=refunded, **APPROVED)), PREPAID)
    assert decision.settlement is Settlement.REFUNDED_BY_GATEWAY
    assert Milestone.REFUNDED in decision.milestones
    assert codes(decision) == ([Code.AMOUNT_MISMATCH] if too_much else [])
    if too_much:
        says = "the gateway refunded 121.21, what came is worth 120.00 GBP by the order"
        assert (decision.problems[0].subject, decision.problems[0].detail) == ("refund", says)


def of_the_refund(known: ReturnFacts, of: Order = PREPAID, policy: Policy = USUAL) -> list[str]:
    """What is said about the gateway's refund."""
    return [p.detail for p in decided(known, of, policy).problems if p.subject == "refund"]


def test_a_gateway_refund_is_compared_with_the_goods_that_could_be_refunded_whatever_else_comes_back() -> None:
    of = order(sold(), sold("CUP"), payment_method="platform_upfront")
    says = "the gateway refunded 121.21, what came is worth 120.00 GBP by the order"
    others = (line("CUP", remedy=Remedy.STOCK_ONLY), line("GHOST"))
    for other in others:
        known = facts(a_return(line(), other, refunded=12000, **APPROVED))
        assert of_the_refund(known, of) == []
        assert of_the_refund(changed(known, refunded=12121), of) == [says]
    too_many = facts(a_return(line(quantity=9), refunded=12121, **APPROVED))
    assert of_the_refund(too_many, of) == [says]


@pytest.mark.parametrize("words", [{"delivery": Delivery.ANNOUNCED}, {"delivery": Delivery.IN_TRANSIT}])
def test_a_gateway_refund_for_goods_that_never_came_is_shown(words: dict[str, Any]) -> None:
    known = facts(a_return(refunded=12000, status=ReturnStatus.CLOSED, **words))
    assert of_the_refund(known) == ["the gateway refunded 120.00, what came is worth 0.00 GBP by the order"]
    assert of_the_refund(replace(known, findings=(finding(Condition.SELLABLE, 4),))) == []


def test_a_gateway_refund_for_missing_units_is_shown() -> None:
    known = facts(a_return(refunded=12000, **APPROVED), finding(Condition.MISSING, 1), finding(Condition.SELLABLE, 3))
    assert of_the_refund(known) == ["the gateway refunded 120.00, what came is worth 90.00 GBP by the order"]


def test_a_gateway_that_gave_less_or_nothing_yet_is_no_question() -> None:
    for refunded in (0, 11000):
        assert of_the_refund(facts(a_return(refunded=refunded, **APPROVED))) == []
    assert of_the_refund(facts(a_return(refunded=99900, **DELIVERED))) == [], "it is not closed"
    assert of_the_refund(changed(credited(), refunded=99900), of=order()) == [], "it is not the gateway's"


def test_a_gateway_refund_of_a_return_that_was_denied_before_anything_came_is_shown() -> None:
    known = facts(a_return(refunded=12000, status=ReturnStatus.CLOSED), same_buyer=False)
    known = replace(known, rulings=ruled(decided(known, PREPAID), Code.CUSTOMER_MISMATCH, Action.DENY))
    assert codes(decided(known, PREPAID)) == [Code.AMOUNT_MISMATCH]
    assert of_the_refund(replace(known, ret=replace(known.ret, refunded=0))) == []


@pytest.mark.parametrize("method", ["platform_upfront", "barter"])
def test_money_given_on_what_we_credited_is_shown_however_the_order_is_paid_by_now(method: str) -> None:
    known = changed(credited(), refunded=12000)
    was = decided(known)
    assert detail(was, Code.GATEWAY_REFUND_ON_ACCOUNT) == ("Swap shows 120.00 GBP given back on on_account order #1001")
    decision = decided(known, order(payment_method=method))
    says = f"Swap shows 120.00 GBP given back on {method} order #1001, and 120.00 was credited before"
    assert detail(decision, Code.GATEWAY_REFUND_ON_ACCOUNT) == says
    assert decision.settlement is Settlement.HELD
    denied = said(known, Code.GATEWAY_REFUND_ON_ACCOUNT, Action.DENY)
    assert codes(decided(denied)) == []


# -- which rule said what


def test_every_problem_is_among_the_reasons_with_its_rule_and_its_line() -> None:
    known = facts(a_return(line(), line("CAP", 1), **DELIVERED), finding(Condition.MISSING, 1))
    decision = decided(known, order(po_number=""))
    told = {reason.code: reason for reason in decision.reasons if reason.code}
    assert [told[problem.code].text for problem in decision.problems] == [p.detail for p in decision.problems]
    assert (told[Code.PO_NUMBER_MISSING].rule, told[Code.PO_NUMBER_MISSING].line_id) == (5, "")
    assert (told[Code.SKU_NOT_ON_ORDER].rule, told[Code.SKU_NOT_ON_ORDER].line_id) == (8, "cap")
    assert told[Code.SKU_NOT_ON_ORDER].verdict is Verdict.HOLDS
    assert told[Code.INSPECTION_SHORT].verdict is Verdict.NOTES


def test_a_persons_word_is_among_the_reasons() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.MISSING, 1))
    ruling = ruled(decided(known), Code.INSPECTION_SHORT, Action.ACCEPT)
    reason = next(r for r in decided(replace(known, rulings=ruling)).reasons if r.code is Code.INSPECTION_SHORT)
    assert (reason.rule, reason.verdict, reason.line_id) == (1, Verdict.RELEASES, "mug")
    assert reason.text == "1 of 4 MUG did not come; a person decided: accept"


def test_a_typed_value_is_named_with_it() -> None:
    known = facts(a_return(**APPROVED))
    ruling = ruled(decided(known, order(po_number="")), Code.PO_NUMBER_MISSING, Action.TYPE_PO, "PO-9")
    texts = [reason.text for reason in decided(replace(known, rulings=ruling), order(po_number="")).reasons]
    assert "on_account order #1001 has no PO number; a person decided: type-po PO-9" in texts


def test_the_reasons_show_the_whole_computation_in_the_order_of_the_rules() -> None:
    known = facts(a_return(line(quantity=2), **APPROVED))
    known = after(known, decided(known))
    two = facts(a_return(line(quantity=1), return_id="R2", day=1, **APPROVED))
    (_, decision) = decide(Case(order(), (known, two)), Policy())
    said_of = [(reason.rule, reason.verdict, reason.text, reason.line_id) for reason in decision.reasons]
    assert said_of == [
        (7, Verdict.NOTES, "the buyers of return and order can't be compared, so nothing is concluded", ""),
        (2, Verdict.RELEASES, "on_account: a credit note of ours and one transaction", ""),
        (5, Verdict.NOTES, "PO number PO-77 goes on the credit note and the notes", ""),
        (8, Verdict.RELEASES, "MUG of the order, by SKU", "mug"),
        (1, Verdict.RELEASES, "1 of 1 accepted: Swap says closed, delivered, QC approved", "mug"),
        (
            4,
            Verdict.RELEASES,
            "1 of 4 sold, 2 credited before: net 25.00 of 100.00, tax 5.00 of 20.00 GBP",
            "mug",
        ),
    ]


# -- what a problem says of itself


def told(of: ReturnFacts, order_: object = None, **case: object) -> list[tuple[Code, str, str, Holds]]:
    """(code, subject, SKU, what it holds) of each problem."""
    return [(p.code, p.subject, p.sku, p.holds) for p in decided(of, order_, **case).problems]


def test_each_problem_names_its_cause_its_sku_and_what_it_holds() -> None:
    found_one_more = (finding(Condition.SELLABLE, 1), finding(Condition.SELLABLE, 1))
    known = facts(a_return(**DELIVERED), found_one_more[0])
    known = replace(of_another_price(after(known, decided(known))), findings=found_one_more)
    assert told(known) == [(Code.ORDER_CHANGED, "mug", "MUG", Holds.LINE_CREDIT)]
    assert told(waiting()) == [(Code.INSPECTION_OVERDUE, "", "", Holds.NOTHING)]
    assert told(facts(a_return(total=1))) == [(Code.AMOUNT_MISMATCH, "", "", Holds.NOTHING)]
    assert told(facts(a_return(**DELIVERED), finding(Condition.MISSING, 1), finding(Condition.WRONG_ITEM, 1))) == [
        (Code.INSPECTION_SHORT, "mug", "MUG", Holds.NOTHING),
        (Code.UNEXPECTED_ITEM, "mug", "MUG", Holds.NOTHING),
    ]
    assert told(facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 1))) == [
        (Code.INSPECTION_REVIEW, "mug", "MUG", Holds.LINE_CREDIT)
    ]
    assert told(facts(), order(payment_method="barter")) == [(Code.PAYMENT_METHOD_UNKNOWN, "", "", Holds.CREDIT)]
    assert told(facts(), order(po_number="")) == [(Code.PO_NUMBER_MISSING, "", "", Holds.NOTHING)]
    assert told(facts(), order(cancelled=True)) == [(Code.ORDER_CHANGED, "", "", Holds.EVERYTHING)]
    parked = facts(a_return(status=ReturnStatus.ON_HOLD))
    assert told(parked) == [(Code.REFUND_STUCK_IN_SWAP, "", "", Holds.NOTHING)]
    renamed = facts(a_return(line("CUP", line_item_id="1")))
    assert told(renamed, order(sold(line_item_id="1"))) == [(Code.SKU_CHANGED, "cup", "CUP", Holds.NOTHING)]


def test_an_order_line_that_holds_less_than_was_credited_holds_the_money_of_its_line() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    known = replace(after(known, decided(known)), findings=(finding(Condition.SELLABLE, 2),))
    assert told(known, order(sold(net=100))) == [(Code.ORDER_CHANGED, "mug", "MUG", Holds.LINE_CREDIT)]


def test_one_unit_that_is_left_in_inspection_waits_as_well() -> None:
    moved = {("mug", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 3}}
    assert codes(decided(waiting(finding(Condition.SELLABLE, 3), moved=moved))) == [Code.INSPECTION_OVERDUE]


def test_money_given_on_a_pay_later_order_is_no_refund_by_the_gateway() -> None:
    assert codes(decided(facts(a_return(refunded=99999, **APPROVED)))) == [Code.GATEWAY_REFUND_ON_ACCOUNT]


# -- wrong items


def test_wrong_items_leave_inspection_when_a_person_writes_them_off_and_not_when_they_are_accepted() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.WRONG_ITEM, 3), finding(Condition.SELLABLE, 1))
    known = after(known, decided(known))
    accepted = decided(said(known, Code.UNEXPECTED_ITEM, Action.ACCEPT))
    assert (accepted.movements, accepted.problems) == ((), ())
    written_off = decided(said(known, Code.UNEXPECTED_ITEM, Action.WRITE_OFF))
    assert moves(written_off) == [("mug", "written_off", 3)]


def test_of_two_lines_with_wrong_items_only_the_one_that_was_written_off_leaves_inspection() -> None:
    of = order(sold(), sold("CUP"))
    known = facts(
        a_return(line(), line("CUP"), **DELIVERED),
        finding(Condition.WRONG_ITEM, 4),
        finding(Condition.WRONG_ITEM, 4, "cup"),
    )
    known = after(known, decided(known, of))
    ruling = Ruling(Action.WRITE_OFF, about="4 of 4 CUP are another item")
    known = replace(known, rulings={(Code.UNEXPECTED_ITEM, "cup"): ruling})
    assert moves(decided(known, of)) == [("cup", "written_off", 4)]


# -- what is said about a credit that waits


@pytest.mark.parametrize(
    ("policy", "words", "text"),
    [
        (
            Policy(),
            {},
            "0 of 4 accepted: Swap says open, announced, QC none; "
            "it waits for the warehouse's finding, or closed, delivered and QC approved in Swap",
        ),
        (
            Policy(uses_swap_qc=False),
            {},
            "0 of 4 accepted: Swap says open, announced, QC none; "
            "it waits for the warehouse's finding, or closed, delivered in Swap",
        ),
        (
            Policy(settle_on="inspected"),
            APPROVED,
            "0 of 4 accepted: Swap says closed, delivered, QC approved; it waits for the warehouse's finding",
        ),
    ],
)
def test_a_credit_that_waits_says_for_what(policy: Policy, words: dict[str, object], text: str) -> None:
    assert text in [reason.text for reason in decided(facts(a_return(**words)), policy=policy).reasons]


def test_a_credit_on_findings_names_them() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 2), finding(Condition.MISSING, 1))
    texts = [reason.text for reason in decided(known).reasons]
    assert "2 of 4 accepted: the warehouse found 2 sellable, 1 missing" in texts


def test_a_credit_line_keeps_the_order_line_that_it_is_a_share_of() -> None:
    (new,) = decided(facts(a_return(line(quantity=1), **APPROVED))).credit
    assert (new.order_line_key, new.sku, new.sold) == ("mug", "MUG", sold())


# -- goods of lines that are gone


def of_lines_that_are_gone(*findings: Finding, **moved: int) -> ReturnFacts:
    """The usual return, now of CUP alone; what came and was found of MUG before."""
    steps = {Step(step): units for step, units in moved.items()}
    known = facts(a_return(line("CUP", 1), **DELIVERED), *findings)
    return replace(known, moved={("mug", "MUG"): steps} if steps else {})


def test_goods_of_lines_that_the_return_no_longer_has_hold_everything() -> None:
    of = order(sold(), sold("CUP"))
    known = of_lines_that_are_gone(
        finding(Condition.SELLABLE, 3), finding(Condition.DAMAGED, 1), received=5, missing=1, restocked=3
    )
    decision = decided(known, of)
    says = "4 x MUG came; the warehouse found 3 sellable, 1 damaged, for lines that the return no longer has"
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT) == says
    (problem,) = decision.problems
    assert (problem.subject, problem.about, problem.holds) == ("goods", known.ret.basis(), Holds.EVERYTHING)
    assert decision.movements == ()


def test_one_unit_that_came_or_was_found_is_enough() -> None:
    of = order(sold(), sold("CUP"))
    came = "1 x MUG came, for lines that the return no longer has"
    assert detail(decided(of_lines_that_are_gone(received=1), of), Code.RETURN_CHANGED_AFTER_CREDIT) == came
    seen = "the warehouse found 1 sellable, for lines that the return no longer has"
    known = of_lines_that_are_gone(finding(Condition.SELLABLE, 1))
    assert detail(decided(known, of), Code.RETURN_CHANGED_AFTER_CREDIT) == seen


def test_what_was_found_of_lines_that_are_gone_is_added_up() -> None:
    of = order(sold(), sold("CUP"))
    one, two, one_less = (finding(Condition.SELLABLE, n) for n in (1, 2, -1))
    seen = "the warehouse found 3 sellable, for lines that the return no longer has"
    assert detail(decided(of_lines_that_are_gone(one, two), of), Code.RETURN_CHANGED_AFTER_CREDIT) == seen
    assert codes(decided(of_lines_that_are_gone(one_less, one), of)) == []


def test_goods_of_lines_that_are_still_there_or_never_came_hold_nothing() -> None:
    of = order(sold(), sold("CUP"))
    assert codes(decided(of_lines_that_are_gone(), of)) == []
    assert codes(decided(of_lines_that_are_gone(received=2, missing=2), of)) == []
    assert codes(decided(of_lines_that_are_gone(missing=1), of)) == []
    assert codes(decided(of_lines_that_are_gone(restocked=0), of)) == []
    assert codes(decided(facts(a_return(**DELIVERED), moved={("mug", "MUG"): {Step.RECEIVED: 4}}), of)) == []


def test_a_credit_that_is_not_due_is_not_compared_with_what_others_were_credited_by() -> None:
    one = facts(a_return(line(quantity=1), **APPROVED))
    one = of_another_price(after(one, decided(one)))
    two = facts(a_return(line(quantity=1), return_id="R2", day=1))
    assert codes(all_decided(one, two)["R2"]) == []
    two = changed(two, **APPROVED)
    assert codes(all_decided(one, two)["R2"]) == [Code.ORDER_CHANGED]


# -- fewer units than came


def of_fewer_units(*findings: Finding, quantity: int = 2, **moved: int) -> ReturnFacts:
    """The usual return, whose 4 MUG came and which announces fewer by now."""
    steps = {Step.RECEIVED: 4} | {Step(step): units for step, units in moved.items()}
    return replace(facts(a_return(line(quantity=quantity), **DELIVERED), *findings), moved={("mug", "MUG"): steps})


def accepted(known: ReturnFacts) -> ReturnFacts:
    return replace(known, rulings=ruled(decided(known), Code.RETURN_CHANGED_AFTER_CREDIT, Action.ACCEPT))


def test_more_units_than_the_return_announces_now_hold_everything() -> None:
    known = of_fewer_units(finding(Condition.SELLABLE, 2))
    decision = decided(known)
    [problem] = decision.problems
    assert problem.detail == "4 x MUG came, and the return announces 2 now"
    assert (problem.code, problem.subject) == (Code.RETURN_CHANGED_AFTER_CREDIT, "goods")
    assert (problem.about, problem.holds) == (known.ret.basis(), Holds.EVERYTHING)
    assert decision.movements == ()


def test_what_is_not_announced_any_more_leaves_inspection_once_a_person_accepts() -> None:
    known = accepted(of_fewer_units(finding(Condition.SELLABLE, 2)))
    assert moves(decided(known)) == [("mug", "restocked", 2), ("mug", "written_off", 2)]
    known = after(known, decided(known))
    assert (moves(decided(known)), codes(decided(known))) == ([], [])


def test_of_what_was_sold_again_already_nothing_leaves_inspection() -> None:
    known = accepted(of_fewer_units(finding(Condition.SELLABLE, 4), restocked=4))
    assert (moves(decided(known)), codes(decided(known))) == ([], [])


def test_units_that_are_missing_are_not_more_than_announced() -> None:
    assert codes(decided(of_fewer_units(finding(Condition.MISSING, 2)))) == [Code.INSPECTION_SHORT]
    known = of_fewer_units(finding(Condition.MISSING, 2), finding(Condition.SELLABLE, 1), quantity=1)
    says = "2 x MUG came, and the return announces 1 now"
    assert detail(decided(known), Code.RETURN_CHANGED_AFTER_CREDIT) == says


def test_as_many_units_as_are_announced_hold_nothing() -> None:
    assert codes(decided(of_fewer_units(quantity=4))) == []


def test_wrong_items_leave_inspection_beside_what_is_not_announced_any_more() -> None:
    known = accepted(of_fewer_units())
    known = after(known, decided(known))
    known = replace(known, findings=(finding(Condition.WRONG_ITEM, 2),))
    rulings = ruled(decided(known), Code.UNEXPECTED_ITEM, Action.WRITE_OFF)
    known = replace(known, rulings={**known.rulings, **rulings})
    assert moves(decided(known)) == [("mug", "written_off", 2)]


def test_goods_of_a_line_that_is_gone_and_of_one_that_is_smaller_are_one_question() -> None:
    known = of_fewer_units()
    known = replace(known, moved={**known.moved, ("cup", "CUP"): {Step.RECEIVED: 1}})
    says = "1 x CUP came, for lines that the return no longer has; 4 x MUG came, and the return announces 2 now"
    assert detail(decided(known), Code.RETURN_CHANGED_AFTER_CREDIT) == says
    assert moves(decided(accepted(known))) == [("cup", "written_off", 1), ("mug", "written_off", 2)]
