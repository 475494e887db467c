"""How a return is made good: worker.md section 4, rule by rule."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from swapsync.domain.catalogue import CATALOGUE, Action, Code, Owner
from swapsync.domain.facts import Case, Credited, Policy, ReturnFacts, Route, Ruling, method_key
from swapsync.domain.matching import MatchedBy
from swapsync.domain.notes import Milestone
from swapsync.domain.orders import Order, OrderLine, SkuHistory
from swapsync.domain.reasons import Reason, Verdict
from swapsync.domain.returns import (
    Condition,
    Delivery,
    Finding,
    Inspection,
    Logistics,
    Remedy,
    ReturnLine,
    ReturnStatus,
    Settlement,
    SwapQc,
)
from swapsync.domain.settlement import decide
from swapsync.domain.stock import Step
from tests.domain.build import (
    APPROVED,
    DELIVERED,
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

ALL_OF_IT = [("mug", 4, 10000, 2000)]
INSPECTED_ONLY = Policy(settle_on="inspected")
CALLED_OFF = pytest.mark.parametrize("status", [ReturnStatus.CANCELLED, ReturnStatus.EXPIRED])


def approved(*lines: Any, **fields: Any) -> ReturnFacts:
    """A return that Swap closed, delivered and approved."""
    return facts(a_return(*lines, **(APPROVED | fields)))


# -- rule 1: no effect before receipt


@pytest.mark.parametrize("delivery", [Delivery.ANNOUNCED, Delivery.IN_TRANSIT])
def test_before_receipt_nothing_happens(delivery: Delivery) -> None:
    decision = decided(facts(a_return(delivery=delivery)))
    assert (decision.credit, decision.movements, decision.problems) == ((), (), ())
    assert decision.settlement is Settlement.NONE


def test_delivered_alone_moves_the_announced_units_to_inspection_and_nothing_else() -> None:
    decision = decided(facts(a_return(**DELIVERED)))
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.credit == ()
    assert decision.settlement is Settlement.NONE
    assert decision.logistics is Logistics.DELIVERED


def test_closed_delivered_and_approved_releases_the_credit_but_no_sellable_stock() -> None:
    decision = decided(approved())
    assert money(decision) == ALL_OF_IT
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.DUE
    assert decision.accepted == {"mug": 4}


@pytest.mark.parametrize(
    "fields",
    [
        {"status": ReturnStatus.OPEN},
        {"status": ReturnStatus.NEEDS_REVIEW},
        {"status": ReturnStatus.ON_HOLD},
        {"delivery": Delivery.ANNOUNCED},
        {"delivery": Delivery.IN_TRANSIT},
        {"qc": SwapQc.NONE},
        {"qc": SwapQc.PENDING},
        {"qc": SwapQc.NOT_APPROVED},
        {"qc": SwapQc.MISSING},
    ],
)
def test_any_one_of_closed_delivered_and_approved_missing_means_no_credit(fields: dict[str, Any]) -> None:
    decision = decided(approved(**fields))
    assert decision.credit == ()
    assert decision.accepted == {"mug": 0}


def test_without_swaps_quality_control_an_empty_one_will_do() -> None:
    assert money(decided(approved(qc=SwapQc.NONE), policy=Policy(uses_swap_qc=False))) == ALL_OF_IT


@pytest.mark.parametrize("qc", [SwapQc.PENDING, SwapQc.NOT_APPROVED, SwapQc.MISSING])
def test_without_swaps_quality_control_a_bad_word_of_it_still_counts(qc: SwapQc) -> None:
    assert decided(approved(qc=qc), policy=Policy(uses_swap_qc=False)).credit == ()


def test_a_merchant_who_settles_on_inspection_credits_nothing_on_swaps_word() -> None:
    assert decided(approved(), policy=INSPECTED_ONLY).credit == ()


@pytest.mark.parametrize("policy", [Policy(), INSPECTED_ONLY])
def test_a_finding_releases_the_credit_whatever_swap_says(policy: Policy) -> None:
    known = facts(a_return(qc=SwapQc.NOT_APPROVED), finding(Condition.SELLABLE, 4))
    decision = decided(known, policy=policy)
    assert money(decision) == ALL_OF_IT
    assert moves(decision) == [("mug", "received", 4), ("mug", "restocked", 4)]
    assert decision.inspection is Inspection.DONE


def test_a_finding_wins_over_swaps_summary() -> None:
    known = facts(a_return(**APPROVED), finding(Condition.SELLABLE, 1), finding(Condition.MISSING, 3))
    decision = decided(known)
    assert money(decision) == [("mug", 1, 2500, 500)]
    assert decision.accepted == {"mug": 1}


def test_a_finding_on_one_line_leaves_the_other_to_swaps_word() -> None:
    mug_and_cup = a_return(line("MUG"), line("CUP"), **APPROVED)
    of = order(sold("MUG"), sold("CUP", net=400, tax=80))
    decision = decided(facts(mug_and_cup, finding(Condition.SELLABLE, 1)), of)
    assert money(decision) == [("mug", 1, 2500, 500), ("cup", 4, 400, 80)]
    assert decision.inspection is Inspection.PARTIAL


def test_a_line_credited_on_swaps_word_is_not_credited_again_by_a_finding() -> None:
    known = approved()
    known = replace(after(known, decided(known)), findings=(finding(Condition.SELLABLE, 4),))
    decision = decided(known)
    assert decision.credit == ()
    assert decision.problems == ()
    assert moves(decision) == [("mug", "restocked", 4)]
    assert decision.settlement is Settlement.CREDITED


@pytest.mark.parametrize(
    ("condition", "code", "says"),
    [
        (Condition.MISSING, Code.INSPECTION_SHORT, "4 of 4 MUG did not come; 4 credited already"),
        (Condition.WRONG_ITEM, Code.UNEXPECTED_ITEM, "4 of 4 MUG are another item; 4 credited already"),
        (
            Condition.DAMAGED,
            Code.INSPECTION_REVIEW,
            "4 of 4 MUG came back damaged or without value; 4 credited already",
        ),
    ],
)
def test_a_finding_that_contradicts_a_credit_is_reported_and_reverses_nothing(
    condition: Condition, code: Code, says: str
) -> None:
    known = approved()
    known = replace(after(known, decided(known)), findings=(finding(condition, 4),))
    decision = decided(known)
    assert decision.credit == ()
    assert detail(decision, code) == says


@pytest.mark.parametrize(
    "fields",
    [
        {"qc": SwapQc.NOT_APPROVED},
        {"qc": SwapQc.MISSING},
        {"delivery": Delivery.ANNOUNCED, "qc": SwapQc.NONE},
        {"delivery": Delivery.IN_TRANSIT},
    ],
)
def test_what_swap_closed_without_approval_or_delivery_is_denied(fields: dict[str, Any]) -> None:
    assert decided(approved(**fields)).settlement is Settlement.DENIED


@pytest.mark.parametrize("fields", [{"status": ReturnStatus.OPEN}, {"qc": SwapQc.PENDING}, {"qc": SwapQc.NONE}])
def test_what_can_still_be_confirmed_is_not_denied(fields: dict[str, Any]) -> None:
    assert decided(approved(**fields)).settlement is Settlement.NONE


def test_sellable_stock_moves_on_swaps_approval_only_where_the_policy_says_so() -> None:
    policy = Policy(restock_on="swap_approved")
    assert moves(decided(approved(), policy=policy)) == [("mug", "received", 4), ("mug", "restocked", 4)]
    for fields in ({"status": ReturnStatus.OPEN}, {"qc": SwapQc.NONE}, {"qc": SwapQc.PENDING}):
        assert moves(decided(approved(**fields), policy=policy)) == [("mug", "received", 4)]
    assert moves(decided(approved(delivery=Delivery.IN_TRANSIT), policy=policy)) == []


def test_an_empty_quality_control_releases_no_sellable_stock_even_where_swaps_is_not_used() -> None:
    policy = Policy(restock_on="swap_approved", uses_swap_qc=False)
    assert moves(decided(approved(qc=SwapQc.NONE), policy=policy)) == [("mug", "received", 4)]


# -- the warehouse's conditions (design.md section 7)


@pytest.mark.parametrize("condition", [Condition.DAMAGED, Condition.NO_VALUE])
def test_damaged_or_worthless_units_wait_for_a_persons_decision(condition: Condition) -> None:
    known = facts(a_return(**DELIVERED), finding(condition, 1), finding(Condition.SELLABLE, 3))
    decision = decided(known)
    assert codes(decision) == [Code.INSPECTION_REVIEW]
    assert detail(decision, Code.INSPECTION_REVIEW) == "1 of 4 MUG came back damaged or without value"
    assert money(decision) == [("mug", 3, 7500, 1500)]
    assert decision.settlement is Settlement.HELD


def test_a_person_may_credit_damaged_units() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 1), finding(Condition.NO_VALUE, 3))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.CREDIT))
    decision = decided(known)
    assert decision.problems == ()
    assert money(decision) == ALL_OF_IT
    assert decision.accepted == {"mug": 4}


def test_a_person_may_deny_damaged_units_and_the_good_ones_are_credited_all_the_same() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 1), finding(Condition.SELLABLE, 3))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.DENY))
    decision = decided(known)
    assert decision.problems == ()
    assert money(decision) == [("mug", 3, 7500, 1500)]
    assert decision.settlement is Settlement.DUE


def test_a_return_that_came_back_damaged_and_was_denied_ends_as_denied() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 4))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.DENY))
    assert decided(known).settlement is Settlement.DENIED


def test_a_ruling_holds_only_for_what_the_person_read() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 1))
    rulings = ruled(decided(known), Code.INSPECTION_REVIEW, Action.CREDIT)
    decision = decided(facts(known.ret, finding(Condition.DAMAGED, 2), rulings=rulings))
    assert codes(decision) == [Code.INSPECTION_REVIEW]
    assert decision.credit == ()


def test_a_ruling_does_not_lapse_with_the_credit_that_follows_from_it() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 2), finding(Condition.SELLABLE, 2))
    first = decided(known)
    known = replace(after(known, first), rulings=ruled(first, Code.INSPECTION_REVIEW, Action.CREDIT))
    second = decided(known)
    assert money(second) == [("mug", 2, 5000, 1000)]
    third = decided(after(known, second))
    assert (third.problems, third.credit) == ((), ())
    assert third.settlement is Settlement.CREDITED


def test_a_denial_of_damaged_units_denies_nothing_of_what_is_not_inspected_yet() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 1))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.DENY))
    assert decided(known).settlement is Settlement.NONE


def test_missing_units_are_not_credited_and_are_reported() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.MISSING, 1), finding(Condition.SELLABLE, 3))
    decision = decided(known)
    assert codes(decision) == [Code.INSPECTION_SHORT]
    assert detail(decision, Code.INSPECTION_SHORT) == "1 of 4 MUG did not come"
    assert money(decision) == [("mug", 3, 7500, 1500)]


def test_wrong_items_are_not_credited_stay_in_inspection_and_are_reported() -> None:
    decision = decided(facts(a_return(**DELIVERED), finding(Condition.WRONG_ITEM, 4)))
    assert codes(decision) == [Code.UNEXPECTED_ITEM]
    assert detail(decision, Code.UNEXPECTED_ITEM) == "4 of 4 MUG are another item"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.DENIED


@pytest.mark.parametrize(
    ("condition", "code"),
    [(Condition.MISSING, Code.INSPECTION_SHORT), (Condition.WRONG_ITEM, Code.UNEXPECTED_ITEM)],
)
def test_a_person_may_accept_that_units_are_missing_or_another_item(condition: Condition, code: Code) -> None:
    known = facts(a_return(**DELIVERED), finding(condition, 1), finding(Condition.SELLABLE, 3))
    known = replace(known, rulings=ruled(decided(known), code, Action.ACCEPT))
    decision = decided(known)
    assert decision.problems == ()
    assert decided(after(known, decision)).problems == ()


def test_a_return_of_which_nothing_came_is_denied() -> None:
    decision = decided(facts(a_return(), finding(Condition.MISSING, 4)))
    assert decision.settlement is Settlement.DENIED
    assert decision.movements == ()


def test_a_return_that_is_only_partly_inspected_is_not_denied() -> None:
    assert decided(facts(a_return(), finding(Condition.MISSING, 3))).settlement is Settlement.NONE


def test_a_line_of_no_units_does_not_keep_a_return_from_being_denied() -> None:
    known = facts(a_return(line("MUG"), line("CUP", 0)), finding(Condition.MISSING, 4))
    assert decided(known, order(sold("MUG"), sold("CUP"))).settlement is Settlement.DENIED


def test_a_line_without_sku_is_named_by_its_id_when_something_is_wrong_with_it() -> None:
    known = facts(a_return(line("", line_id="1", line_item_id="11")), finding(Condition.MISSING, 1, "1"))
    assert detail(decided(known, order(sold("", line_item_id="11"))), Code.INSPECTION_SHORT) == "1 of 4 1 did not come"


# -- return types (design.md section 7)


def test_an_exchange_moves_stock_and_no_money() -> None:
    known = facts(
        a_return(line(remedy=Remedy.STOCK_ONLY, return_type="Exchange"), **APPROVED), finding(Condition.SELLABLE, 4)
    )
    decision = decided(known)
    assert decision.credit == ()
    assert decision.problems == ()
    assert moves(decision) == [("mug", "received", 4), ("mug", "restocked", 4)]
    assert decision.settlement is Settlement.NONE


def test_damaged_goods_of_an_exchange_ask_nobody_for_a_credit() -> None:
    known = facts(a_return(line(remedy=Remedy.STOCK_ONLY), **DELIVERED), finding(Condition.DAMAGED, 4))
    decision = decided(known)
    assert decision.problems == ()
    assert moves(decision) == [("mug", "received", 4), ("mug", "damaged", 4)]


def test_beside_an_exchange_the_refunded_line_alone_says_whether_a_return_is_denied() -> None:
    known = facts(
        a_return(line("MUG"), line("CUP", remedy=Remedy.STOCK_ONLY), **DELIVERED),
        finding(Condition.MISSING, 4),
        finding(Condition.SELLABLE, 4, "cup"),
    )
    assert decided(known, order(sold("MUG"), sold("CUP"))).settlement is Settlement.DENIED


def warranty(**fields: Any) -> ReturnFacts:
    return approved(line(remedy=Remedy.ASK, return_type="Warranty"), **fields)


def test_a_type_that_is_not_simply_credited_waits_for_a_person_while_its_goods_move_on() -> None:
    decision = decided(warranty())
    assert detail(decision, Code.INSPECTION_REVIEW) == "MUG comes back as Warranty"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.HELD


def test_a_person_may_credit_such_a_type() -> None:
    rulings = ruled(decided(warranty()), Code.INSPECTION_REVIEW, Action.CREDIT)
    known = replace(warranty(), rulings=rulings)
    decision = decided(known)
    assert money(decision) == ALL_OF_IT
    assert decided(after(known, decision)).settlement is Settlement.CREDITED


def test_such_a_ruling_credits_nothing_before_receipt() -> None:
    announced = facts(a_return(line(remedy=Remedy.ASK, return_type="Warranty")))
    announced = replace(announced, rulings=ruled(decided(announced), Code.INSPECTION_REVIEW, Action.CREDIT))
    decision = decided(announced)
    assert decision.credit == ()
    assert decision.settlement is Settlement.NONE


def test_a_person_may_deny_such_a_type_and_it_ends_as_denied() -> None:
    rulings = ruled(decided(warranty()), Code.INSPECTION_REVIEW, Action.DENY)
    decision = decided(replace(warranty(), rulings=rulings))
    assert decision.credit == ()
    assert decision.accepted == {"mug": 0}
    assert decision.settlement is Settlement.DENIED


def test_such_a_type_that_came_back_damaged_is_asked_about_once_and_with_both_reasons() -> None:
    known = replace(warranty(), findings=(finding(Condition.DAMAGED, 1),))
    assert (
        detail(decided(known), Code.INSPECTION_REVIEW)
        == "1 of 4 MUG came back damaged or without value; MUG comes back as Warranty"
    )


def test_a_type_without_a_meaning_holds_its_line_alone() -> None:
    known = approved(line("MUG", remedy=Remedy.UNKNOWN, return_type="Swapsies"), line("CUP"))
    decision = decided(known, order(sold("MUG"), sold("CUP", net=400, tax=80)))
    assert detail(decision, Code.UNKNOWN_VALUE) == "swapsync has no meaning for return type 'Swapsies'"
    assert money(decision) == [("cup", 4, 400, 80)]
    assert moves(decision) == [("cup", "received", 4)]
    assert decision.settlement is Settlement.HELD


def test_a_value_without_a_meaning_freezes_the_return() -> None:
    decision = decided(approved(unknown=('return_status "Zapped"', 'quality_control_status "Meh"')))
    assert [(problem.code, problem.subject) for problem in decision.problems] == [
        (Code.UNKNOWN_VALUE, 'return_status "Zapped"'),
        (Code.UNKNOWN_VALUE, 'quality_control_status "Meh"'),
    ]
    assert decision.problems[0].detail == 'swapsync has no meaning for return_status "Zapped"'
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert decision.settlement is Settlement.HELD


# -- rule 2: route by payment method


@pytest.mark.parametrize("method", ["on_account", "On Account", "ON-ACCOUNT", "invoice", "Invoice"])
def test_pay_later_methods_are_credited_by_us_however_they_are_spelt(method: str) -> None:
    assert money(decided(approved(), order(payment_method=method))) == ALL_OF_IT


def test_a_methods_key_is_its_letters_and_digits_in_lower_case() -> None:
    assert method_key(" Net_30-Days ") == "net30days"


def test_what_was_paid_upfront_is_left_to_swap_and_only_recorded() -> None:
    upfront = order(payment_method="platform_upfront", po_number="")
    waiting = decided(approved(), upfront)
    assert waiting.credit == ()
    assert waiting.problems == ()
    assert waiting.settlement is Settlement.NONE
    assert Milestone.REFUNDED not in waiting.milestones
    refunded = decided(approved(refunded=12000), upfront)
    assert refunded.credit == ()
    assert refunded.problems == ()
    assert refunded.settlement is Settlement.REFUNDED_BY_GATEWAY
    assert refunded.milestones == (Milestone.AUTHORISED, Milestone.RECEIVED, Milestone.REFUNDED)
    assert moves(refunded) == [("mug", "received", 4)]


def test_a_figure_on_an_open_upfront_return_is_only_an_expectation() -> None:
    decision = decided(facts(a_return(refunded=12000, **DELIVERED)), order(payment_method="platform_upfront"))
    assert decision.settlement is Settlement.NONE
    assert Milestone.REFUNDED not in decision.milestones


@pytest.mark.parametrize(("method", "says"), [("barter", "barter"), ("", "(none)")])
def test_an_unknown_way_of_payment_holds_the_money_and_lets_the_goods_move(method: str, says: str) -> None:
    decision = decided(approved(), order(payment_method=method))
    assert detail(decision, Code.PAYMENT_METHOD_UNKNOWN) == f"order #1001 has payment method {says}"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.HELD


def test_a_merchants_own_method_goes_the_way_the_policy_says() -> None:
    policy = Policy(routes={"barter": Route.CREDIT_NOTE})
    assert money(decided(approved(), order(payment_method="Barter"), policy)) == ALL_OF_IT


def test_money_that_swap_gave_on_a_pay_later_order_holds_our_credit_and_not_the_goods() -> None:
    decision = decided(approved(refunded=1))
    assert (
        detail(decision, Code.GATEWAY_REFUND_ON_ACCOUNT) == "Swap shows 0.01 GBP given back on on_account order #1001"
    )
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.HELD
    assert Milestone.REFUNDED not in decision.milestones


@pytest.mark.parametrize("fields", [{"refunded": 12000, "status": ReturnStatus.OPEN}, {"refunded": 0}])
def test_no_money_or_only_the_expectation_of_it_holds_nothing(fields: dict[str, Any]) -> None:
    known = replace(approved(**fields), findings=(finding(Condition.SELLABLE, 4),))
    assert money(decided(known)) == ALL_OF_IT


def test_a_person_may_say_that_no_money_went_out() -> None:
    known = approved(refunded=12000)
    known = replace(known, rulings=ruled(decided(known), Code.GATEWAY_REFUND_ON_ACCOUNT, Action.CREDIT))
    assert money(decided(known)) == ALL_OF_IT
    again = decided(changed(known, refunded=11999))
    assert codes(again) == [Code.GATEWAY_REFUND_ON_ACCOUNT]
    assert again.credit == ()


def test_a_person_may_say_that_money_did_go_out_and_the_return_ends_as_denied() -> None:
    known = approved(refunded=12000)
    known = replace(known, rulings=ruled(decided(known), Code.GATEWAY_REFUND_ON_ACCOUNT, Action.DENY))
    decision = decided(known)
    assert decision.credit == ()
    assert decision.problems == ()
    assert decision.settlement is Settlement.DENIED


def test_money_that_swap_gives_after_our_credit_is_reported() -> None:
    known = approved()
    known = changed(after(known, decided(known)), refunded=12000)
    decision = decided(known)
    assert codes(decision) == [Code.GATEWAY_REFUND_ON_ACCOUNT]
    assert decision.settlement is Settlement.HELD


def test_different_currencies_hold_the_money_and_let_the_goods_move() -> None:
    decision = decided(approved(currency="EUR"))
    assert detail(decision, Code.CURRENCY_MISMATCH) == "the return is in EUR, order #1001 in GBP"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.HELD


def test_a_return_that_names_no_currency_is_held() -> None:
    decision = decided(approved(currency=""))
    assert detail(decision, Code.CURRENCY_MISMATCH) == "the return is in (none), order #1001 in GBP"
    assert decision.credit == ()


def test_an_order_that_names_no_currency_is_held() -> None:
    decision = decided(approved(), order(currency=""))
    assert detail(decision, Code.CURRENCY_MISMATCH) == "the return is in GBP, order #1001 in (none)"


def test_the_case_of_a_currency_makes_no_difference() -> None:
    assert money(decided(approved(currency="gbp", total=12000))) == ALL_OF_IT
    assert codes(decided(approved(currency="gbp", total=1))) == [Code.AMOUNT_MISMATCH]


# -- rule 3: one effect, once


def test_a_credit_that_was_given_is_not_given_again() -> None:
    known = approved()
    again = decided(after(known, decided(known)))
    assert (again.credit, again.movements) == ((), ())
    assert again.settlement is Settlement.CREDITED


def test_a_line_that_was_credited_keeps_no_credit_from_the_lines_after_it() -> None:
    of = order(sold(), sold("CUP", net=400, tax=80))
    known = facts(a_return(line(), line("CUP"), **DELIVERED), finding(Condition.SELLABLE, 4))
    known = after(known, decided(known, of))
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 4, "cup")))
    assert money(decided(known, of)) == [("cup", 4, 400, 80)]


def test_a_credit_is_due_until_it_is_delivered() -> None:
    known = approved()
    assert decided(after(known, decided(known), delivered=False)).settlement is Settlement.DUE


def test_partial_credits_follow_the_findings() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    first = decided(known)
    assert money(first) == [("mug", 1, 2500, 500)]
    known = replace(after(known, first), findings=(finding(Condition.SELLABLE, 1), finding(Condition.SELLABLE, 3)))
    second = decided(known)
    assert money(second) == [("mug", 3, 7500, 1500)]
    assert second.settlement is Settlement.DUE


@pytest.mark.parametrize(
    "fields",
    [
        {"lines": (line(quantity=5),)},
        {"lines": (line(quantity=1),)},
        {"lines": (line(), line("CUP"))},
        {"order_ref": "5002"},
        {"order_name": "#1002"},
        {"currency": "EUR"},
    ],
)
def test_a_return_that_changed_after_its_credit_does_nothing_more_and_a_person_decides(fields: dict[str, Any]) -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    known = changed(after(known, decided(known)), **fields)
    decision = decided(replace(known, findings=(finding(Condition.SELLABLE, 4),)), order(sold(), sold("CUP")))
    says = "the return has other lines, order or currency now than when it was credited"
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT).startswith(says)
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert decision.settlement is Settlement.HELD


def test_a_return_that_changed_after_its_credit_still_shows_its_match_and_what_the_warehouse_found() -> None:
    known = approved()
    known = changed(after(known, decided(known)), order_name="#1001-A")
    decision = decided(replace(known, findings=(finding(Condition.MISSING, 4),)))
    assert codes(decision) == [Code.RETURN_CHANGED_AFTER_CREDIT, Code.INSPECTION_SHORT]
    assert decision.matches["mug"].order_line == sold()


def test_its_units_stay_claimed() -> None:
    known = approved(line("MUG"), line("CUP"), return_id="R1")
    of = order(sold("MUG"), sold("CUP", net=0, tax=0))
    known = changed(after(known, decided(known, of)), order_name="#1001-A")
    assert codes(all_decided(known, approved(line("CUP"), return_id="R2"), of=of)["R2"]) == [
        Code.QUANTITY_EXCEEDS_ORDER
    ]


@CALLED_OFF
def test_a_return_that_is_called_off_after_its_credit_is_reported(status: ReturnStatus) -> None:
    known = approved()
    decision = decided(changed(after(known, decided(known)), status=status))
    assert detail(decision, Code.RETURN_CHANGED_AFTER_CREDIT) == f"the return is {status} now than when it was credited"
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert decision.settlement is Settlement.HELD


def test_a_change_that_touches_no_credit_is_no_matter() -> None:
    known = approved()
    decision = decided(changed(after(known, decided(known)), total=12000, customer_email="other@acme.example"))
    assert decision.problems == ()


def test_a_change_before_any_credit_is_no_matter() -> None:
    assert money(decided(changed(approved(), lines=(line(quantity=1),)))) == [("mug", 1, 2500, 500)]


# -- rule 4: amounts come from the order


def test_partial_credits_of_one_line_round_cumulatively_and_add_up_exactly() -> None:
    of = order(sold(quantity=3, net=10000, tax=2000))
    one = facts(a_return(line(quantity=1), return_id="R1", day=0, **APPROVED))
    two = facts(a_return(line(quantity=1), return_id="R2", day=1, **APPROVED))
    three = facts(a_return(line(quantity=1), return_id="R3", day=2, **APPROVED))
    at_once = all_decided(one, two, three, of=of)
    assert [money(at_once[name]) for name in ("R1", "R2", "R3")] == [
        [("mug", 1, 3333, 667)],
        [("mug", 1, 3334, 666)],
        [("mug", 1, 3333, 667)],
    ]


def test_credits_on_record_count_towards_the_rounding_of_the_next() -> None:
    of = order(sold(quantity=3, net=10000, tax=2000))
    one = facts(a_return(line(quantity=1), return_id="R1", **APPROVED))
    one = after(one, decided(one, of))
    two = facts(a_return(line(quantity=2), return_id="R2", day=1, **APPROVED))
    assert money(all_decided(one, two, of=of)["R2"]) == [("mug", 2, 6667, 1333)]


@pytest.mark.parametrize(
    ("currency", "net", "tax", "credit"),
    [("JPY", 1000, 100, (333, 33)), ("KWD", 1000, 50, (333, 17)), ("GBP", 1000, 200, (333, 67))],
)
def test_amounts_round_to_the_minor_unit_of_the_currency(
    currency: str, net: int, tax: int, credit: tuple[int, int]
) -> None:
    of = order(sold(quantity=3, net=net, tax=tax), currency=currency)
    assert money(decided(approved(line(quantity=1), currency=currency), of)) == [("mug", 1, *credit)]


def test_swaps_own_value_of_the_return_never_becomes_an_amount() -> None:
    assert money(decided(approved(total=1))) == ALL_OF_IT


def test_a_line_worth_nothing_makes_no_credit_note() -> None:
    assert decided(approved(), order(sold(net=0, tax=0))).credit == ()


def test_a_free_line_that_came_back_whole_is_not_denied() -> None:
    decision = decided(facts(a_return(), finding(Condition.SELLABLE, 4)), order(sold(net=0, tax=0)))
    assert decision.credit == ()
    assert decision.settlement is Settlement.NONE


def test_a_line_that_is_all_tax_makes_one() -> None:
    assert money(decided(approved(), order(sold(net=0, tax=5)))) == [("mug", 4, 0, 5)]


def test_a_free_line_stands_on_the_credit_note_of_a_line_that_is_not() -> None:
    decision = decided(approved(line("GIFT"), line("MUG")), order(sold("GIFT", net=0, tax=0), sold("MUG")))
    assert money(decision) == [("gift", 4, 0, 0), ("mug", 4, 10000, 2000)]


@pytest.mark.parametrize("net", [2, 6])
def test_units_worth_less_than_a_penny_add_up_too_and_raise_no_alarm(net: int) -> None:
    of = order(sold(quantity=10, net=net, tax=0))
    every = {f"R{n}": facts(a_return(line(quantity=1), return_id=f"R{n}", day=n, **APPROVED)) for n in range(10)}
    seen: dict[str, ReturnFacts] = {}
    for name, known in every.items():
        seen[name] = known
        decisions = all_decided(*seen.values(), of=of)
        assert not any(decision.problems for decision in decisions.values())
        assert all(new.net > 0 for decision in decisions.values() for new in decision.credit)
        seen = {name: after(seen[name], decision) for name, decision in decisions.items()}
    assert sum(credited.net for known in seen.values() for credited in known.credited) == net


@pytest.mark.parametrize(
    ("sold_as", "now"),
    [
        (sold(), sold(net=100)),
        (sold(), sold(tax=20)),
        (sold(), sold(net=0, tax=0)),
        (sold(), sold(net=0)),
        (sold(), sold(tax=0)),
        (sold(net=12, tax=0), sold(net=4, tax=0)),
        (sold(net=0, tax=12), sold(net=0, tax=4)),
        (sold(net=2), sold(net=2, tax=20)),
        (sold(tax=2), sold(net=100, tax=2)),
        (sold(net=8, tax=0), sold(net=1, tax=0)),
        (sold(net=0, tax=8), sold(net=0, tax=1)),
    ],
)
def test_an_order_line_that_is_now_worth_less_than_was_credited_holds_the_money_not_the_goods(
    sold_as: OrderLine, now: OrderLine
) -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    known = after(known, decided(known, order(sold_as)))
    known = replace(known, findings=(finding(Condition.SELLABLE, 2),))
    decision = decided(known, order(now))
    assert detail(decision, Code.ORDER_CHANGED) == "MUG: the order now holds less than was credited for it already"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "restocked", 1)]
    assert decision.settlement is Settlement.HELD


def test_units_credited_to_another_return_are_never_credited_twice() -> None:
    elsewhere = facts(
        a_return(line("CUP"), return_id="R1"),
        credited=(Credited("mug", "mug", 3, 7500, 1500, True),),
        credited_basis="as it was",
    )
    decision = all_decided(elsewhere, approved(line(quantity=2), return_id="R2"))["R2"]
    assert decision.credit == ()
    assert codes(decision) == [Code.ORDER_CHANGED]


OPEN = {"status": ReturnStatus.OPEN, "qc": SwapQc.PENDING}


@pytest.mark.parametrize(
    ("came", "credited"),
    [
        ({"ret": {"delivery": Delivery.IN_TRANSIT}}, True),
        ({"ret": {"delivery": Delivery.IN_TRANSIT}, "found": Condition.MISSING}, True),
        ({"ret": {"delivery": Delivery.DELIVERED}}, False),
        ({"ret": {"delivery": Delivery.IN_TRANSIT}, "found": Condition.SELLABLE}, False),
    ],
)
@pytest.mark.parametrize(
    ("first_line", "code"),
    [({"quantity": 5}, Code.QUANTITY_EXCEEDS_ORDER), ({"remedy": Remedy.ASK}, Code.INSPECTION_REVIEW)],
)
def test_a_line_that_a_person_denied_keeps_its_units_only_if_its_goods_came(
    came: dict[str, Any], credited: bool, first_line: dict[str, Any], code: Code
) -> None:
    seen = [finding(came["found"], 1)] if "found" in came else []
    first = facts(a_return(line(**first_line), return_id="R1", **OPEN | came["ret"]), *seen)
    first = replace(first, rulings=ruled(decided(first), code, Action.DENY))
    second = approved(return_id="R2", day=1)

    decisions = all_decided(first, second)

    assert money(decisions["R1"]) == []
    assert money(decisions["R2"]) == (ALL_OF_IT if credited else [])
    assert codes(decisions["R2"]) == ([] if credited else [Code.QUANTITY_EXCEEDS_ORDER])


def test_a_line_that_a_person_denied_keeps_the_units_that_were_credited_before() -> None:
    first = approved(line(quantity=2), return_id="R1")
    first = changed(after(first, decided(first)), lines=(line(quantity=5),), delivery=Delivery.IN_TRANSIT, **OPEN)
    first = replace(first, rulings=ruled(decided(first), Code.QUANTITY_EXCEEDS_ORDER, Action.DENY))
    second = all_decided(first, approved(line(quantity=2), return_id="R2", day=1))["R2"]
    assert (money(second), codes(second)) == ([], [Code.QUANTITY_EXCEEDS_ORDER])


def test_a_person_who_denies_an_order_line_that_changed_has_no_more_of_it_credited() -> None:
    one = facts(a_return(**OPEN), finding(Condition.SELLABLE, 1))
    paid = replace(after(one, decided(one)).credited[0], sold=(4, 10000, 2000))
    one = replace(one, credited=(paid,), findings=(finding(Condition.SELLABLE, 2),))
    of = order(sold(net=8000, tax=1600))
    asked = decided(one, of)
    assert codes(asked) == [Code.ORDER_CHANGED]
    for action, amounts in ((Action.DENY, []), (Action.ACCEPT, [("mug", 1, 1500, 300)])):
        decision = decided(replace(one, rulings=ruled(asked, Code.ORDER_CHANGED, action)), of)
        assert (codes(decision), money(decision)) == ([], amounts)
        [reason] = [each for each in decision.reasons if each.code is Code.ORDER_CHANGED]
        assert reason.verdict is (Verdict.HOLDS if action is Action.DENY else Verdict.RELEASES)


def test_credits_of_one_line_say_nothing_about_another() -> None:
    of = order(sold("MUG"), sold("CUP", net=400, tax=80))
    one = approved(line("MUG"), return_id="R1")
    one = after(one, decided(one, of))
    assert money(all_decided(one, approved(line("CUP"), return_id="R2"), of=of)["R2"]) == [("cup", 4, 400, 80)]


# -- rule 4: Swap's figure is compared, and only informs


@pytest.mark.parametrize(
    ("total", "mismatch"), [(12000, False), (12120, False), (11880, False), (12121, True), (11879, True)]
)
def test_beyond_one_percent_swaps_figure_is_reported_and_nothing_is_held(total: int, mismatch: bool) -> None:
    decision = decided(approved(total=total))
    assert (Code.AMOUNT_MISMATCH in codes(decision)) is mismatch
    assert money(decision) == ALL_OF_IT
    assert decision.settlement is Settlement.DUE


@pytest.mark.parametrize(("total", "mismatch"), [(105, False), (95, False), (106, True), (94, True)])
def test_for_small_amounts_the_tolerance_is_five_pence(total: int, mismatch: bool) -> None:
    decision = decided(approved(total=total), order(sold(net=80, tax=20)))
    assert (Code.AMOUNT_MISMATCH in codes(decision)) is mismatch


@pytest.mark.parametrize(
    ("currency", "total", "mismatch"),
    [("JPY", 10, False), ("JPY", 11, True), ("KWD", 60, False), ("KWD", 61, True)],
)
def test_the_tolerance_is_an_amount_of_the_orders_currency(currency: str, total: int, mismatch: bool) -> None:
    of = order(sold(net=10, tax=0), currency=currency)
    assert (Code.AMOUNT_MISMATCH in codes(decided(approved(total=total, currency=currency), of))) is mismatch


def test_a_site_may_set_its_own_tolerance() -> None:
    policy = Policy(amount_tolerance=Decimal("1.00"), amount_tolerance_percent=Decimal("0"))
    assert codes(decided(approved(total=12100), policy=policy)) == []
    assert codes(decided(approved(total=12101), policy=policy)) == [Code.AMOUNT_MISMATCH]


def test_the_report_names_both_figures() -> None:
    assert detail(decided(approved(total=5000)), Code.AMOUNT_MISMATCH) == "Swap says 50.00, the order says 120.00 GBP"


def test_the_compared_value_is_that_of_the_returned_units_of_all_lines() -> None:
    of = order(sold("MUG"), sold("CUP", quantity=2, net=401, tax=80))
    known = approved(line("MUG", 1), line("CUP", 1), total=3241)
    assert codes(decided(known, of)) == []
    assert "the order says 32.41 GBP" in detail(decided(changed(known, total=1), of), Code.AMOUNT_MISMATCH)


def test_a_person_may_accept_the_difference() -> None:
    known = approved(total=5000)
    known = replace(known, rulings=ruled(decided(known), Code.AMOUNT_MISMATCH, Action.ACCEPT))
    assert codes(decided(known)) == []
    assert codes(decided(changed(known, total=4999))) == [Code.AMOUNT_MISMATCH]


@pytest.mark.parametrize(
    "known",
    [
        approved(total=None),
        approved(total=1, currency="EUR"),
        approved(line("BOWL"), total=1),
        approved(line(quantity=5), total=1),
        approved(line(remedy=Remedy.STOCK_ONLY), total=1),
        approved(line(remedy=Remedy.ASK), total=1),
    ],
    ids=["no figure", "other currency", "unmatched", "too many units", "exchange", "warranty"],
)
def test_where_the_value_is_not_known_nothing_is_compared(known: ReturnFacts) -> None:
    assert Code.AMOUNT_MISMATCH not in codes(decided(known))


# -- rule 5: the PO number travels


def test_the_orders_po_number_travels_with_the_decision() -> None:
    assert decided(approved()).po_number == "PO-77"


def test_a_pay_later_order_without_one_is_reported_and_still_credited() -> None:
    decision = decided(approved(), order(po_number=""))
    assert detail(decision, Code.PO_NUMBER_MISSING) == "on_account order #1001 has no PO number"
    assert money(decision) == ALL_OF_IT
    assert decision.po_number == ""
    assert decision.settlement is Settlement.DUE


def test_where_one_is_required_the_credit_waits_and_the_goods_do_not() -> None:
    decision = decided(approved(), order(po_number=""), Policy(po_required=True))
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4)]
    assert decision.settlement is Settlement.HELD


def test_a_typed_po_number_travels_and_releases_the_credit() -> None:
    without, policy = order(po_number=""), Policy(po_required=True)
    rulings = ruled(decided(approved(), without, policy), Code.PO_NUMBER_MISSING, Action.TYPE_PO, "PO-78")
    decision = decided(replace(approved(), rulings=rulings), without, policy)
    assert decision.problems == ()
    assert decision.po_number == "PO-78"
    assert money(decision) == ALL_OF_IT


def test_where_one_is_required_and_there_nothing_waits() -> None:
    assert money(decided(approved(), policy=Policy(po_required=True))) == ALL_OF_IT


def test_an_order_that_was_paid_upfront_needs_none() -> None:
    known = approved(refunded=12000)
    decision = decided(known, order(po_number="", payment_method="platform_upfront"), Policy(po_required=True))
    assert decision.problems == ()


# -- rule 7: the same buyer


def test_a_return_of_a_stranger_is_held_as_a_whole() -> None:
    decision = decided(replace(approved(), same_buyer=False))
    assert (
        detail(decision, Code.CUSTOMER_MISMATCH)
        == "buyer@acme.example asked for the return; order #1001 was bought by somebody else"
    )
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert decision.settlement is Settlement.HELD
    assert (decision.matches, decision.inspection, decision.po_number) == ({}, Inspection.NONE, "PO-77")
    assert [reason.code for reason in decision.reasons if reason.verdict is Verdict.HOLDS] == [Code.CUSTOMER_MISMATCH]


def test_a_strangers_return_takes_no_units_from_the_buyers_own() -> None:
    stranger = replace(approved(return_id="R1"), same_buyer=False)
    decisions = all_decided(stranger, approved(return_id="R2", day=1))
    assert codes(decisions["R1"]) == [Code.CUSTOMER_MISMATCH]
    assert money(decisions["R2"]) == ALL_OF_IT


@pytest.mark.parametrize("same_buyer", [True, None])
def test_where_the_buyer_is_the_same_or_nothing_can_be_concluded_nothing_is_held(same_buyer: bool | None) -> None:
    assert money(decided(replace(approved(), same_buyer=same_buyer))) == ALL_OF_IT


def test_a_person_may_confirm_the_buyer() -> None:
    stranger = replace(approved(), same_buyer=False)
    stranger = replace(stranger, rulings=ruled(decided(stranger), Code.CUSTOMER_MISMATCH, Action.CONFIRM_BUYER))
    assert money(decided(stranger)) == ALL_OF_IT
    assert codes(decided(changed(stranger, customer_email="third@other.example"))) == [Code.CUSTOMER_MISMATCH]


# -- rule 8: the same thing


def test_a_return_without_an_order_is_held() -> None:
    (decision,) = decide(Case(None, (approved(),)), Policy())
    assert detail(decision, Code.ORPHANED_RETURN) == "SparkLayer has no order with id 5001 or name #1001"
    assert (decision.credit, decision.movements, decision.milestones) == ((), (), ())
    assert decision.settlement is Settlement.HELD
    assert (decision.logistics, decision.po_number) == (Logistics.DELIVERED, "")


def test_a_return_that_names_its_order_by_half_says_so() -> None:
    (decision,) = decide(Case(None, (approved(order_ref="", order_name=""),)), Policy())
    assert detail(decision, Code.ORPHANED_RETURN) == "SparkLayer has no order with id (none) or name (none)"


def test_a_credited_return_that_lost_its_order_is_held_without_a_crash() -> None:
    known = approved()
    (decision,) = decide(Case(None, (after(known, decided(known)),)), Policy())
    assert codes(decision) == [Code.ORPHANED_RETURN]
    assert decision.settlement is Settlement.HELD
    other_lines = changed(after(known, decided(known)), lines=(line(line_id="another"),))
    assert codes(decide(Case(None, (other_lines,)), Policy())[0]) == [Code.ORPHANED_RETURN]


def test_all_near_matches_are_suggested() -> None:
    decision = decided(approved(line("mug")), order(sold("MUG"), sold("Mug", key="other")))
    assert detail(decision, Code.SKU_NOT_ON_ORDER).endswith(
        "; near: MUG (differs in letter case), Mug (differs in letter case)"
    )


def test_a_line_that_matches_nothing_is_held_and_the_other_lines_go_on() -> None:
    known = approved(line("mug-1", line_id="1"), line("CUP", line_id="2"))
    decision = decided(known, order(sold("MUG-1"), sold("CUP", net=400, tax=80)))
    assert (
        detail(decision, Code.SKU_NOT_ON_ORDER)
        == "mug-1 matches no single line of the order; near: MUG-1 (differs in letter case)"
    )
    assert decision.problems[0].subject == "1"
    assert decision.problems[0].sku == "mug-1"
    assert money(decision) == [("2", 4, 400, 80)]
    assert moves(decision) == [("2", "received", 4)]
    assert decision.settlement is Settlement.HELD


@pytest.mark.parametrize(
    ("returned", "name"),
    [
        (line("BOWL", variant_id="V9", line_item_id="9"), "BOWL"),
        (line("", variant_id="V9", line_item_id="9"), "V9"),
        (line("", line_id="1", line_item_id="9"), "9"),
        (line("", line_id="1"), "a line without SKU"),
    ],
)
def test_an_unmatched_line_is_named_by_the_best_it_has(returned: Any, name: str) -> None:
    assert detail(decided(approved(returned)), Code.SKU_NOT_ON_ORDER) == f"{name} matches no single line of the order"


def test_a_line_that_matches_nothing_is_of_the_order_line_that_a_person_chose() -> None:
    known, of = approved(line("mug-1", 1, line_id="1")), order(sold("MUG-1"), sold("CUP"))
    known = replace(known, rulings=ruled(decided(known, of), Code.SKU_NOT_ON_ORDER, Action.CHOOSE_LINE, "mug-1"))
    decision = decided(known, of)
    assert (money(decision), moves(decision)) == ([("1", 1, 2500, 500)], [("1", "received", 1)])
    assert (codes(decision), decision.matches["1"].by) == ([], MatchedBy.PERSON)


@pytest.mark.parametrize(
    ("now", "of"),
    [
        (line("mug-2", line_id="1"), order(sold("MUG-1"), sold("CUP"))),
        (line("mug-1", line_id="1"), order(sold("MUG-1", key="another"), sold("CUP"))),
    ],
    ids=["the line is another", "the order has no such line"],
)
def test_a_persons_choice_lapses_with_what_it_was_about(now: ReturnLine, of: Order) -> None:
    known = approved(line("mug-1", line_id="1"))
    asked = decided(known, order(sold("MUG-1"), sold("CUP")))
    known = replace(known, rulings=ruled(asked, Code.SKU_NOT_ON_ORDER, Action.CHOOSE_LINE, "mug-1"))
    decision = decided(changed(known, lines=(now,)), of)
    assert (codes(decision), money(decision), moves(decision)) == ([Code.SKU_NOT_ON_ORDER], [], [])


def test_a_sku_means_the_variant_that_carried_it_when_the_order_was_placed() -> None:
    day = {n: datetime(2026, 3, n, tzinfo=UTC) for n in range(1, 10)}
    seen = {("V1", "MUG"): (day[1], day[4]), ("V2", "MUG"): (day[5], day[9])}
    history = SkuHistory({"V1": ["MUG"], "V2": ["MUG"]}, seen)
    of = order(sold("OLD", variant_id="V1"), sold("NEW", net=400, tax=80, variant_id="V2"), placed_at=day[2])
    decision = decided(approved(), of, history=history)
    assert decision.matches["mug"].order_line == of.lines[0]
    assert money(decision) == ALL_OF_IT


def test_a_changed_sku_is_reported_and_holds_nothing() -> None:
    known = approved(line("MUG-2", line_id="mug"))
    decision = decided(known, history=SkuHistory({"V1": ["MUG", "MUG-2"]}))
    assert detail(decision, Code.SKU_CHANGED) == "sold as MUG, returned as MUG-2; matched by SKU history"
    assert money(decision) == ALL_OF_IT
    known = replace(known, rulings=ruled(decision, Code.SKU_CHANGED, Action.ACKNOWLEDGE))
    assert decided(known, history=SkuHistory({"V1": ["MUG", "MUG-2"]})).problems == ()


def test_a_taught_alias_is_no_change_of_sku() -> None:
    decision = decided(approved(line("MUG-EU", line_id="mug")), aliases={"MUG-EU": "MUG"})
    assert decision.problems == ()
    assert money(decision) == ALL_OF_IT


@pytest.mark.parametrize(("in_swap", "on_order"), [("", "MUG"), ("MUG", "")])
def test_a_sku_that_one_side_does_not_give_is_no_change_of_sku(in_swap: str, on_order: str) -> None:
    decision = decided(
        approved(line(in_swap, line_id="mug", line_item_id="11")), order(sold(on_order, key="mug", line_item_id="11"))
    )
    assert decision.problems == ()
    assert [new.sku for new in decision.credit] == ["MUG"]


def test_stock_moves_under_the_variants_sku_of_today() -> None:
    history = SkuHistory({"V1": ["MUG", "MUG-2"]})
    known = facts(a_return(line("MUG", variant_id="V1"), **DELIVERED))
    assert [m.sku for m in decided(known, order(sold(variant_id="V1")), history=history).movements] == ["MUG-2"]
    known = facts(a_return(line("MUG"), **DELIVERED))
    assert [m.sku for m in decided(known, order(sold(variant_id="V1")), history=history).movements] == ["MUG-2"]
    known = facts(a_return(line("MUG", variant_id="V1"), **DELIVERED))
    assert [m.sku for m in decided(known, history=history).movements] == ["MUG-2"]


def test_stock_that_began_to_move_under_one_sku_goes_on_under_it() -> None:
    known = facts(
        a_return(line("MUG", variant_id="V1"), **DELIVERED), finding(Condition.SELLABLE, 4), stock_skus={"mug": "MUG"}
    )
    decision = decided(known, order(sold(variant_id="V1")), history=SkuHistory({"V1": ["MUG", "MUG-2"]}))
    assert {m.sku for m in decision.movements} == {"MUG"}


def test_without_a_history_stock_moves_under_the_returns_sku_else_the_orders() -> None:
    renamed = facts(a_return(line("MUG-2", line_item_id="11"), **DELIVERED))
    of = order(sold("MUG", line_item_id="11"))
    assert [m.sku for m in decided(renamed, of).movements] == ["MUG-2"]
    without = facts(a_return(line("", line_id="1", line_item_id="11"), **DELIVERED))
    assert [m.sku for m in decided(without, of).movements] == ["MUG"]


def test_what_has_no_sku_at_all_is_credited_and_moves_no_stock() -> None:
    known = approved(line("", line_id="1", line_item_id="11"), line("CUP"))
    decision = decided(known, order(sold("", key="blank", line_item_id="11"), sold("CUP", net=400, tax=80)))
    assert money(decision) == [("1", 4, 10000, 2000), ("cup", 4, 400, 80)]
    assert moves(decision) == [("cup", "received", 4)]


# -- rule 9: competition for the units of an order line


def test_returns_of_one_order_line_compete_in_the_order_of_their_submission() -> None:
    late = approved(line(quantity=3), return_id="R1", day=2)
    early = approved(line(quantity=3), return_id="R2", day=1)
    decisions = all_decided(late, early)
    assert list(decisions) == ["R2", "R1"]
    assert money(decisions["R2"]) == [("mug", 3, 7500, 1500)]
    assert (
        detail(decisions["R1"], Code.QUANTITY_EXCEEDS_ORDER)
        == "3 of MUG to come back, 1 left of 4; also claimed by RMA R2"
    )
    assert (decisions["R1"].credit, decisions["R1"].movements) == ((), ())
    assert decisions["R1"].settlement is Settlement.HELD


def test_of_two_submitted_at_the_same_moment_the_lower_id_comes_first() -> None:
    decisions = all_decided(approved(return_id="R2"), approved(return_id="R1"))
    assert codes(decisions["R1"]) == []
    assert codes(decisions["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_what_just_fits_is_not_held() -> None:
    decisions = all_decided(approved(line(quantity=3), return_id="R1"), approved(line(quantity=1), return_id="R2"))
    assert [codes(decision) for decision in decisions.values()] == [[], []]


def test_a_line_that_was_credited_keeps_its_units_before_an_earlier_return() -> None:
    late = approved(line(quantity=3), return_id="R2", day=2)
    late = after(late, decided(late))
    early = approved(line(quantity=3), return_id="R1", day=1)
    decisions = all_decided(early, late)
    assert codes(decisions["R2"]) == []
    assert codes(decisions["R1"]) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_what_was_credited_of_a_line_is_left_to_it_when_one_that_was_credited_before_grows() -> None:
    early, late = (approved(line(quantity=1), return_id=id_, day=day) for id_, day in (("R1", 1), ("R2", 2)))
    early, late = after(early, decided(early)), after(late, decided(late))
    decisions = all_decided(changed(early, lines=(line(quantity=9),)), late)
    assert codes(decisions["R2"]) == []
    assert Code.QUANTITY_EXCEEDS_ORDER in codes(decisions["R1"])


def test_a_credited_line_brings_no_precedence_to_the_other_lines_of_its_return() -> None:
    of = order(sold("MUG"), sold("CUP", quantity=1, net=400, tax=80))
    early = facts(a_return(line("CUP", 1), return_id="R1", day=1))
    late = approved(line("MUG"), line("CUP", 1), return_id="R2", day=2)
    first = all_decided(early, late, of=of)["R2"]
    assert money(first) == ALL_OF_IT
    again = all_decided(early, after(late, first), of=of)
    assert again["R2"].credit == ()
    assert codes(again["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]
    assert codes(again["R1"]) == []


def test_a_return_that_names_one_order_line_twice_competes_with_itself() -> None:
    known = approved(line(quantity=3, line_id="1"), line(quantity=3, line_id="2"))
    decision = decided(known)
    assert money(decision) == [("1", 3, 7500, 1500)]
    assert [(p.code, p.subject) for p in decision.problems] == [(Code.QUANTITY_EXCEEDS_ORDER, "2")]
    assert decision.problems[0].detail == "3 of MUG to come back, 1 left of 4"


def test_a_return_that_names_one_order_line_twice_and_fits_is_credited_for_both() -> None:
    of = order(sold(quantity=3, net=10000, tax=2000))
    known = approved(line(quantity=1, line_id="1"), line(quantity=2, line_id="2"))
    assert money(decided(known, of)) == [("1", 1, 3333, 667), ("2", 2, 6667, 1333)]


def test_an_order_line_without_sku_is_named_by_its_key() -> None:
    of = order(sold("", quantity=1, key="li:11", line_item_id="11"))
    decision = decided(approved(line("", line_id="1", line_item_id="11")), of)
    assert detail(decision, Code.QUANTITY_EXCEEDS_ORDER) == "4 of li:11 to come back, 1 left of 1"


def test_all_rivals_are_named() -> None:
    known = [approved(line(quantity=2), return_id=f"R{n}", day=n) for n in range(3)]
    assert detail(all_decided(*known)["R2"], Code.QUANTITY_EXCEEDS_ORDER).endswith("; also claimed by RMA R0, R1")


def test_each_rival_is_named_once() -> None:
    first = approved(line(quantity=2, line_id="1"), line(quantity=2, line_id="2"), return_id="R1")
    decision = all_decided(first, approved(line(quantity=1), return_id="R2", day=1))["R2"]
    assert detail(decision, Code.QUANTITY_EXCEEDS_ORDER).endswith("; also claimed by RMA R1")


def test_a_held_line_lets_the_other_lines_of_its_return_go_on() -> None:
    of = order(sold("MUG", quantity=1), sold("CUP", net=400, tax=80))
    decision = decided(approved(line("MUG", 2), line("CUP")), of)
    assert money(decision) == [("cup", 4, 400, 80)]
    assert moves(decision) == [("cup", "received", 4)]
    assert codes(decision) == [Code.QUANTITY_EXCEEDS_ORDER]


def test_an_order_line_of_no_units_has_nothing_to_return() -> None:
    decision = decided(approved(), order(sold(quantity=0)))
    assert codes(decision) == [Code.QUANTITY_EXCEEDS_ORDER]
    assert decision.credit == ()


@pytest.mark.parametrize("of", [order(), order(sold(quantity=0, net=0, tax=0))])
def test_a_returned_line_of_no_units_asks_for_nothing(of: Any) -> None:
    decision = decided(approved(line(quantity=0), total=0), of)
    assert (decision.credit, decision.movements, decision.problems) == ((), (), ())
    assert decision.settlement is Settlement.NONE


@pytest.mark.parametrize(
    "refused", [{"qc": SwapQc.NOT_APPROVED}, {"qc": SwapQc.MISSING}, {"delivery": Delivery.IN_TRANSIT}]
)
def test_a_return_that_swap_closed_without_its_goods_leaves_its_units_to_the_next_one(refused: dict[str, Any]) -> None:
    first, second = approved(return_id="R1", **refused), approved(return_id="R2", day=1)
    assert money(all_decided(first, second)["R2"]) == ALL_OF_IT
    first = replace(first, findings=(finding(Condition.DAMAGED, 4),))
    assert codes(all_decided(first, second)["R2"]) == [Code.QUANTITY_EXCEEDS_ORDER]


@CALLED_OFF
def test_a_return_that_was_called_off_claims_nothing(status: ReturnStatus) -> None:
    gone = facts(a_return(return_id="R1", status=status))
    assert money(all_decided(gone, approved(return_id="R2", day=1))["R2"]) == ALL_OF_IT


# -- called off


@CALLED_OFF
def test_a_return_that_was_called_off_does_nothing_but_say_so(status: ReturnStatus) -> None:
    decision = decided(facts(a_return(status=status, delivery=Delivery.DELIVERED, qc=SwapQc.APPROVED)))
    assert (decision.credit, decision.movements, decision.problems) == ((), (), ())
    assert decision.settlement is Settlement.NONE
    assert (decision.return_id, decision.logistics.value, decision.inspection) == ("R1", status.value, Inspection.NONE)
    assert decision.milestones == (Milestone(status.value),)
    assert decision.reasons == (Reason(1, Verdict.HOLDS, f"it is {status} in Swap, and nothing of it came"),)
    assert decision.matches["mug"].order_line == sold()


@CALLED_OFF
def test_a_called_off_return_without_an_order_is_nobodys_business(status: ReturnStatus) -> None:
    (decision,) = decide(Case(None, (facts(a_return(status=status)),)), Policy())
    assert (decision.problems, decision.milestones) == ((), ())


def test_a_strangers_called_off_return_leaves_no_note() -> None:
    assert decided(facts(a_return(status=ReturnStatus.CANCELLED), same_buyer=False)).milestones == ()


@CALLED_OFF
def test_goods_that_come_although_the_return_was_called_off_are_taken_in_and_a_person_decides(
    status: ReturnStatus,
) -> None:
    known = facts(a_return(status=status), finding(Condition.SELLABLE, 4))
    decision = decided(known)
    assert detail(decision, Code.INSPECTION_REVIEW) == f"MUG came although the return is {status}"
    assert decision.credit == ()
    assert moves(decision) == [("mug", "received", 4), ("mug", "restocked", 4)]
    assert decision.settlement is Settlement.HELD
    assert decision.milestones == (Milestone(status.value),)


@CALLED_OFF
def test_a_person_may_credit_them_and_that_is_then_no_change_after_the_credit(status: ReturnStatus) -> None:
    known = facts(a_return(status=status), finding(Condition.SELLABLE, 4))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.CREDIT))
    decision = decided(known)
    assert money(decision) == ALL_OF_IT
    again = decided(after(known, decision))
    assert (again.problems, again.credit, again.movements) == ((), (), ())
    assert again.settlement is Settlement.CREDITED


def test_a_person_may_deny_them_and_the_return_ends_as_denied() -> None:
    known = facts(a_return(status=ReturnStatus.CANCELLED), finding(Condition.SELLABLE, 4))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.DENY))
    decision = decided(known)
    assert decision.credit == ()
    assert decision.settlement is Settlement.DENIED


def test_of_a_called_off_return_only_what_was_found_is_received() -> None:
    known = facts(a_return(status=ReturnStatus.CANCELLED, **DELIVERED), finding(Condition.SELLABLE, 1))
    assert moves(decided(known)) == [("mug", "received", 1), ("mug", "restocked", 1)]


def test_a_line_that_did_not_come_on_a_called_off_return_is_neither_credited_nor_asked_about() -> None:
    known = facts(a_return(line("MUG"), line("CUP"), status=ReturnStatus.EXPIRED), finding(Condition.MISSING, 4))
    decision = decided(known, order(sold("MUG"), sold("CUP")))
    assert codes(decision) == [Code.INSPECTION_SHORT]
    assert decision.credit == ()
    assert decision.movements == ()


# -- rule 10: milestones


def test_an_announced_return_is_authorised() -> None:
    assert decided(facts(a_return())).milestones == (Milestone.AUTHORISED,)


def test_a_delivered_return_is_received() -> None:
    assert decided(facts(a_return(**DELIVERED))).milestones == (Milestone.AUTHORISED, Milestone.RECEIVED)


def test_a_finding_proves_receipt_and_a_missing_unit_does_not() -> None:
    assert Milestone.RECEIVED in decided(facts(a_return(), finding(Condition.WRONG_ITEM, 1))).milestones
    assert Milestone.RECEIVED not in decided(facts(a_return(), finding(Condition.MISSING, 4))).milestones


def test_a_held_credit_does_not_keep_a_note_back() -> None:
    assert decided(approved(), order(payment_method="barter")).milestones == (
        Milestone.AUTHORISED,
        Milestone.RECEIVED,
    )


# -- rule 12: the cut-over


def test_what_was_settled_before_the_cut_over_does_nothing_at_all() -> None:
    known = replace(approved(total=1, refunded=1), settled_outside=True, findings=(finding(Condition.MISSING, 1),))
    decision = decided(known)
    assert (decision.credit, decision.movements, decision.problems, decision.milestones) == ((), (), (), ())
    assert decision.settlement is Settlement.SETTLED_OUTSIDE
    assert decision.matches["mug"].order_line == sold()
    assert decision.return_id == "R1"
    assert (decision.logistics, decision.inspection) == (Logistics.DELIVERED, Inspection.PARTIAL)
    says = "it ended before the cut-over: its units are counted, and it causes nothing"
    assert decision.reasons == (Reason(12, Verdict.HOLDS, says),)


def test_it_counts_against_the_units_of_its_order_line_before_any_open_return() -> None:
    outside = facts(a_return(line(quantity=3), return_id="R2", day=2, **APPROVED), settled_outside=True)
    earlier = approved(line(quantity=2), return_id="R1", day=1)
    decisions = all_decided(earlier, outside)
    assert (
        detail(decisions["R1"], Code.QUANTITY_EXCEEDS_ORDER)
        == "2 of MUG to come back, 1 left of 4; also claimed by RMA R2"
    )


def test_the_value_of_what_is_left_does_not_depend_on_what_was_settled_outside() -> None:
    of = order(sold(quantity=3, net=10000, tax=2000))
    outside = facts(a_return(line(quantity=1), return_id="R1", **APPROVED), settled_outside=True)
    assert money(all_decided(outside, approved(line(quantity=2), return_id="R2"), of=of)["R2"]) == [
        ("mug", 2, 6667, 1333)
    ]


# -- small print


def test_the_usual_policy() -> None:
    policy = Policy()
    assert (policy.settle_on, policy.restock_on) == ("swap_closed", "inspected")
    assert (policy.uses_swap_qc, policy.po_required) == (True, False)
    assert (policy.amount_tolerance, policy.amount_tolerance_percent) == (Decimal("0.05"), Decimal(1))
    assert policy.routes == {
        "onaccount": Route.CREDIT_NOTE,
        "invoice": Route.CREDIT_NOTE,
        "platformupfront": Route.GATEWAY,
    }


def test_findings_on_lines_that_the_return_does_not_have_hold_it_for_a_person() -> None:
    stray = Finding("bowl", Condition.SELLABLE, 4)
    decision = decided(facts(a_return(**DELIVERED), stray))
    assert (decision.credit, moves(decision)) == ((), [])
    [problem] = decision.problems
    assert (problem.code, problem.subject) == (Code.RETURN_CHANGED_AFTER_CREDIT, "goods")
    assert problem.detail == "the warehouse found 4 sellable, for lines that the return no longer has"


@pytest.mark.parametrize("remedy", [Remedy.CREDIT, Remedy.STOCK_ONLY])
def test_units_on_sale_that_were_not_found_sellable_are_told_to_the_warehouse(remedy: Remedy) -> None:
    policy = Policy(restock_on="swap_approved")
    known = facts(a_return(line(remedy=remedy), **APPROVED))
    known = after(known, decided(known, policy=policy))
    assert known.moved["mug", "MUG"] == {Step.RECEIVED: 4, Step.RESTOCKED: 4}
    known = replace(known, findings=(finding(Condition.SELLABLE, 1),))
    assert codes(decided(known, policy=policy)) == []
    known = replace(known, findings=(*known.findings, finding(Condition.DAMAGED, 2)))
    decision = decided(known, policy=policy)
    says = "2 x MUG were released for sale and then found damaged: take them off sale"
    assert detail(decision, Code.INSPECTION_SHORT).startswith(says)
    known = replace(known, findings=(*known.findings, finding(Condition.MISSING, 1)))
    decision = decided(known, policy=policy)
    says = (
        "1 of 4 MUG did not come; 3 x MUG were released for sale and then found damaged or missing: take them off sale"
    )
    assert detail(decision, Code.INSPECTION_SHORT).startswith(says)
    known = replace(known, rulings=ruled(decision, Code.INSPECTION_SHORT, Action.ACCEPT))
    assert Code.INSPECTION_SHORT not in codes(decided(known, policy=policy))
    assert (decision.movements, CATALOGUE[Code.INSPECTION_SHORT].owner) == ((), Owner.OPERATIONS)


def test_what_no_line_announces_is_reported_and_holds_nothing() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 4))
    bowl = Finding("", Condition.UNEXPECTED, 1, sku="BOWL")
    known = replace(known, findings=(*known.findings, bowl, bowl))
    decision = decided(known)
    [problem] = decision.problems
    assert (problem.code, problem.subject, problem.sku) == (Code.UNEXPECTED_ITEM, "unannounced:BOWL", "BOWL")
    assert problem.detail == "2 x BOWL came, which no line of the return announces"
    assert (money(decision), moves(decision)) == (ALL_OF_IT, [("mug", "received", 4), ("mug", "restocked", 4)])


def test_a_ruling_on_one_line_says_nothing_about_another() -> None:
    known = facts(
        a_return(line("MUG"), line("CUP"), **DELIVERED),
        finding(Condition.DAMAGED, 4),
        finding(Condition.DAMAGED, 4, "cup"),
    )
    says = "4 of 4 MUG came back damaged or without value"
    known = replace(known, rulings={(Code.INSPECTION_REVIEW, "mug"): Ruling(Action.CREDIT, about=says)})
    decision = decided(known, order(sold("MUG"), sold("CUP")))
    assert money(decision) == ALL_OF_IT
    assert [(p.code, p.subject) for p in decision.problems] == [(Code.INSPECTION_REVIEW, "cup")]


def test_movements_of_a_line_are_counted_by_their_reason() -> None:
    known = facts(move_counts={("mug", "MUG"): {Step.RESTOCKED: 2}})
    assert known.moves("mug", "MUG", Step.RESTOCKED) == 2
    assert known.moves("mug", "MUG", Step.DAMAGED) == 0
    assert known.moves("mug", "CUP", Step.RESTOCKED) == 0


def test_no_more_is_accepted_than_is_announced_by_now() -> None:
    decision = decided(facts(a_return(line(quantity=1), **DELIVERED), finding(Condition.SELLABLE, 4)))
    assert decision.accepted == {"mug": 1}
    assert money(decision) == [("mug", 1, 2500, 500)]


def test_a_credited_return_whose_change_was_denied_waits_for_nobody() -> None:
    known = facts(a_return(**APPROVED))
    known = changed(after(known, decided(known)), lines=(line(quantity=3),))
    ruling = Ruling(Action.DENY, about=known.ret.basis())
    decision = decided(replace(known, rulings={(Code.RETURN_CHANGED_AFTER_CREDIT, ""): ruling}))
    assert decision.problems == ()
    assert decision.settlement is Settlement.CREDITED


def test_missing_units_that_turn_up_are_credited_and_no_longer_missing() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 2), finding(Condition.MISSING, 2))
    known = after(known, decided(known))
    turned_up = (finding(Condition.SELLABLE, 1), finding(Condition.MISSING, -1))
    known = replace(known, findings=(*known.findings, *turned_up))
    decision = decided(known)
    assert money(decision) == [("mug", 1, 2500, 500)]
    assert moves(decision) == [("mug", "turned_up", 1), ("mug", "restocked", 1)]
    assert detail(decision, Code.INSPECTION_SHORT) == "1 of 4 MUG did not come; 2 credited already"
    known = after(known, decision)
    known = replace(known, findings=(*known.findings, *turned_up))
    assert codes(decided(known)) == []
    assert (money(decided(after(known, decided(known)))), moves(decided(after(known, decided(known))))) == ([], [])


def test_a_single_unit_on_sale_that_was_found_damaged_is_told() -> None:
    moved = {("mug", "MUG"): {Step.RECEIVED: 4, Step.RESTOCKED: 4}}
    found = finding(Condition.SELLABLE, 3), finding(Condition.DAMAGED, 1)
    decision = decided(facts(a_return(**APPROVED), *found, moved=moved), policy=Policy(restock_on="swap_approved"))
    assert detail(decision, Code.INSPECTION_SHORT).startswith("1 x MUG were released for sale and then found damaged")


def test_all_that_was_credited_of_another_return_is_left_to_it() -> None:
    once = Credited("mug", "mug", 1, 2500, 500, True)
    earlier = facts(a_return(line(quantity=3), **APPROVED), credited=(once,))
    later = facts(a_return(line(quantity=2), return_id="R2", day=1, **APPROVED), credited=(once, once))
    known = [replace(each, credited_basis=each.ret.basis()) for each in (earlier, later)]
    decisions = all_decided(*known)
    assert (codes(decisions["R1"]), codes(decisions["R2"])) == ([Code.QUANTITY_EXCEEDS_ORDER], [])


def test_a_refund_of_a_single_minor_unit_is_one() -> None:
    card = order(payment_method="platform_upfront")
    decision = decided(facts(a_return(refunded=1, **APPROVED)), card)
    assert (Milestone.REFUNDED in decision.milestones, decision.settlement) == (True, Settlement.REFUNDED_BY_GATEWAY)


@pytest.mark.parametrize(
    ("credited", "stands"),
    [((True,), Settlement.CREDITED), ((True, False), Settlement.DUE), ((), Settlement.DENIED)],
)
def test_a_denied_return_whose_order_is_gone_stands_where_its_credits_do(
    credited: tuple[bool, ...], stands: Settlement
) -> None:
    credits = tuple(Credited("mug", "mug", 1, 2500, 500, delivered) for delivered in credited)
    known = facts(a_return(**APPROVED), credited=credits, credited_basis=a_return(**APPROVED).basis())
    [orphaned] = decide(Case(None, (known,)), Policy())
    assert orphaned.settlement is Settlement.HELD
    known = replace(known, rulings=ruled(orphaned, Code.ORPHANED_RETURN, Action.DENY))
    [decision] = decide(Case(None, (known,)), Policy())
    assert decision.settlement is stands
