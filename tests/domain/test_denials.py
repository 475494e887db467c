"""What a person denied stays denied when its reason is gone, until a person decides again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, Credited, Extra, LineKind, Policy, ReturnFacts, Ruling
from swapsync.domain.orders import Order
from swapsync.domain.reasons import Holds
from swapsync.domain.returns import Condition, Inspection, Remedy, ReturnStatus, Settlement, SwapQc
from swapsync.domain.settlement import Decision, Problem, decide
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
from tests.domain.history import Desk
from tests.domain.test_histories import outcome

ALL_OF_IT = [("mug", 4, 10000, 2000)]
GHOST = line("GHOST", line_id="mug")


@dataclass(frozen=True)
class Reason:
    """Why a credit was denied, and how that reason goes away."""

    code: Code
    ret: Mapping[str, Any]
    right: Mapping[str, Any]
    known: Mapping[str, Any]
    known_right: Mapping[str, Any]
    of_line: bool = False


REASONS = {
    "the currency is corrected": Reason(Code.CURRENCY_MISMATCH, {"currency": "EUR"}, {"currency": "GBP"}, {}, {}),
    "the e-mail is corrected": Reason(Code.CUSTOMER_MISMATCH, {}, {}, {"same_buyer": False}, {"same_buyer": True}),
    "the return is back": Reason(Code.RETURN_VANISHED, {}, {}, {"vanished": True}, {"vanished": False}),
    "Swap shows no money any more": Reason(
        Code.GATEWAY_REFUND_ON_ACCOUNT, {"refunded": 1, "status": ReturnStatus.CLOSED}, {"refunded": 0}, {}, {}
    ),
    "the SKU is corrected": Reason(
        Code.SKU_NOT_ON_ORDER, {"lines": (GHOST,)}, {"lines": (line(),)}, {}, {}, of_line=True
    ),
    "fewer units come back": Reason(
        Code.QUANTITY_EXCEEDS_ORDER, {"lines": (line(quantity=5),)}, {"lines": (line(),)}, {}, {}, of_line=True
    ),
    "it is a plain refund": Reason(
        *(Code.INSPECTION_REVIEW, {"lines": (line(remedy=Remedy.ASK),)}, {"lines": (line(),)}, {}, {}), of_line=True
    ),
}


WHATEVER_CAME = [reason for reason in REASONS.values() if reason.code is not Code.QUANTITY_EXCEEDS_ORDER]
"""Those that have nothing to do with how many units come."""


def denied(reason: Reason) -> ReturnFacts:
    """The usual return, once a person denied it for a reason."""
    known = facts(replace(a_return(), **reason.ret), **reason.known)
    return replace(known, rulings=ruled(decided(known), reason.code, Action.DENY))


def put_right(known: ReturnFacts, reason: Reason, **words: Any) -> ReturnFacts:
    return replace(changed(known, **reason.right, **words), **reason.known_right)


def question(decision: Decision) -> Problem:
    [problem] = decision.problems
    return problem


def answered(known: ReturnFacts, action: Action) -> ReturnFacts:
    rulings = ruled(decided(known), Code.APPROVAL_NEEDED, action)
    return replace(known, rulings={**known.rulings, **rulings})


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_what_was_denied_waits_for_a_person_when_the_reason_is_gone(reason: Reason) -> None:
    known = put_right(denied(reason), reason, **APPROVED)
    decision = decided(known)
    problem = question(decision)
    subject = "mug" if reason.of_line else ""
    assert (problem.code, problem.subject) == (Code.APPROVAL_NEEDED, f"denied:{reason.code}:{subject}")
    assert problem.sku == ("MUG" if reason.of_line else "")
    assert problem.holds is (Holds.LINE_CREDIT if reason.of_line else Holds.CREDIT)
    assert problem.detail.startswith(f"{reason.code} (")
    assert problem.detail.endswith(") was denied, and the reason for it is gone: credit it now?")
    assert (decision.credit, decision.settlement) == ((), Settlement.HELD)
    assert moves(decision) == [("mug", "received", 4)]


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_a_person_lets_it_go_or_denies_it_for_good(reason: Reason) -> None:
    known = put_right(denied(reason), reason, **APPROVED)
    let_go = answered(known, Action.CREDIT)
    assert (money(decided(let_go)), codes(decided(let_go))) == (ALL_OF_IT, [])
    let_go = after(let_go, decided(let_go))
    assert (money(decided(let_go)), decided(let_go).settlement) == ([], Settlement.CREDITED)
    refused = answered(known, Action.DENY)
    assert (money(decided(refused)), codes(decided(refused))) == ([], [])
    assert decided(refused).settlement is Settlement.DENIED


def test_nothing_is_asked_before_a_credit_is_due() -> None:
    reason = REASONS["the currency is corrected"]
    decision = decided(put_right(denied(reason), reason, **DELIVERED))
    assert (codes(decision), decision.settlement) == ([], Settlement.NONE)


def test_a_reason_that_is_back_denies_as_it_did() -> None:
    reason = REASONS["the currency is corrected"]
    known = answered(put_right(denied(reason), reason, **APPROVED), Action.DENY)
    decision = decided(changed(known, **reason.ret))
    assert (codes(decision), decision.credit, decision.settlement) == ([], (), Settlement.DENIED)


WITHDRAWN = {(Code.DELIVERY_FAILED, "outbox:7"): Ruling(Action.DENY, "120.00 GBP", "it was not delivered: 422")}


def test_a_credit_that_was_withdrawn_is_not_due_again() -> None:
    decision = decided(facts(a_return(**APPROVED), rulings=WITHDRAWN))
    assert (codes(decision), decision.credit, decision.settlement) == ([], (), Settlement.DENIED)
    assert moves(decision) == [("mug", "received", 4)]


def test_another_amount_than_was_withdrawn_is_asked_about_anew_whenever_it_changes() -> None:
    known = facts(a_return(line(quantity=2), **APPROVED), rulings=WITHDRAWN)
    decision = decided(known)
    problem = question(decision)
    assert (problem.subject, problem.holds) == ("denied:DELIVERY_FAILED:outbox:7", Holds.CREDIT)
    assert problem.detail.startswith("120.00 GBP could not be delivered and was withdrawn, and 60.00 GBP is due by now")
    assert (decision.credit, decision.settlement) == ((), Settlement.HELD)

    refused = answered(known, Action.DENY)
    assert (codes(decided(refused)), decided(refused).settlement) == ([], Settlement.DENIED)
    assert question(decided(changed(refused, lines=(line(quantity=3),)))).detail != problem.detail
    assert money(decided(answered(known, Action.CREDIT))) == [("mug", 2, 5000, 1000)]


def test_an_order_that_turns_up_is_no_reason_to_credit_what_was_denied_without_one() -> None:
    known = facts(a_return(**APPROVED))
    [orphaned] = decide(Case(None, (known,)), Policy())
    known = replace(known, rulings=ruled(orphaned, Code.ORPHANED_RETURN, Action.DENY))
    assert question(decided(known)).subject == "denied:ORPHANED_RETURN:"


def test_an_alias_that_was_taught_for_another_return_is_none_either() -> None:
    known = facts(a_return(GHOST, line("CUP"), **APPROVED))
    of = order(sold(), sold("CUP"))
    known = replace(known, rulings=ruled(decided(known, of), Code.SKU_NOT_ON_ORDER, Action.DENY))
    assert money(decided(known, of)) == [("cup", 4, 10000, 2000)]
    decision = decided(known, of, aliases={"GHOST": "MUG"})
    assert question(decision).subject == "denied:SKU_NOT_ON_ORDER:mug"
    assert money(decision) == [("cup", 4, 10000, 2000)]
    assert [r.line_id for r in decision.reasons if r.code is Code.APPROVAL_NEEDED] == ["mug"]


def test_the_units_of_a_held_line_do_not_count_as_credited() -> None:
    """Two lines of one order line: the second is credited as the first units of it."""
    lines = (line(quantity=1, line_id="l0", remedy=Remedy.ASK), line(quantity=1, line_id="l1"))
    known = facts(a_return(*lines, **APPROVED))
    of = order(sold(quantity=3, net=100, tax=0))
    known = replace(known, rulings=ruled(decided(known, of), Code.INSPECTION_REVIEW, Action.DENY))
    known = changed(known, lines=(replace(lines[0], remedy=Remedy.CREDIT), lines[1]))
    assert money(decided(known, of)) == [("l1", 1, 33, 0)]


def test_a_held_line_leaves_the_credits_before_it_as_they_are() -> None:
    """Three lines of one order line, the second held: the third is credited as the second unit of it."""
    lines = tuple(line(quantity=1, line_id=f"l{n}") for n in range(3))
    known = facts(a_return(lines[0], replace(lines[1], remedy=Remedy.ASK), lines[2], **APPROVED))
    of = order(sold(quantity=3, net=100, tax=0))
    known = replace(known, rulings=ruled(decided(known, of), Code.INSPECTION_REVIEW, Action.DENY))
    assert money(decided(changed(known, lines=lines), of)) == [("l0", 1, 33, 0), ("l2", 1, 34, 0)]


def two_lines_denied_for_good(*denied_before: str) -> Decision:
    """MUG and CUP are plain refunds by now; those that were denied when they were not are denied once more."""
    lines, of = (line(), line("CUP")), order(sold(), sold("CUP", net=400, tax=80))
    known = facts(a_return(*(replace(each, remedy=Remedy.ASK) for each in lines), **APPROVED))
    for asked_in in (known, changed(known, lines=lines)):
        problems = decided(replace(asked_in, rulings=known.rulings), of).problems
        denials = {
            (problem.code, problem.subject): Ruling(Action.DENY, about=problem.about)
            for problem in problems
            if problem.subject.rpartition(":")[2] in denied_before
        }
        known = replace(known, rulings={**known.rulings, **denials})
    return decided(changed(known, lines=lines), of)


def test_a_line_that_is_denied_for_good_denies_no_other() -> None:
    decision = two_lines_denied_for_good("mug")
    assert (money(decision), decision.settlement) == ([("cup", 4, 400, 80)], Settlement.DUE)
    assert decision.accepted == {"mug": 0, "cup": 4}


def test_of_lines_that_are_denied_for_good_each_stays_denied() -> None:
    decision = two_lines_denied_for_good("mug", "cup")
    assert (money(decision), decision.settlement) == ([], Settlement.DENIED)
    assert decision.accepted == {"mug": 0, "cup": 0}


def test_a_denial_of_a_line_that_is_gone_holds_the_whole_credit() -> None:
    reason = REASONS["the SKU is corrected"]
    known = changed(denied(reason), lines=(line(line_id="another"),), **APPROVED)
    problem = question(decided(known))
    assert (problem.subject, problem.holds) == ("denied:SKU_NOT_ON_ORDER:mug", Holds.CREDIT)


def test_a_credit_that_was_refused_above_the_limit_is_not_let_out_because_it_is_worth_less_now() -> None:
    policy = Policy(approve_above=Decimal(100))
    known = facts(a_return(**APPROVED))
    known = replace(known, rulings=ruled(decided(known, policy=policy), Code.APPROVAL_NEEDED, Action.DENY))
    known = changed(known, lines=(line(quantity=3),))
    assert question(decided(known, policy=policy)).subject == "denied:APPROVAL_NEEDED:1"


def test_units_that_nobody_denied_are_credited_beside_those_that_somebody_did() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.DAMAGED, 2), finding(Condition.SELLABLE, 2))
    known = replace(known, rulings=ruled(decided(known), Code.INSPECTION_REVIEW, Action.DENY))
    assert (money(decided(known)), codes(decided(known))) == ([("mug", 2, 5000, 1000)], [])


def test_a_denial_whose_reason_is_hard_to_read_is_named_by_its_code() -> None:
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 2))
    known = after(known, decided(known))
    once = changed(known, lines=(line(quantity=3),))
    known = replace(known, rulings=ruled(decided(once), Code.RETURN_CHANGED_AFTER_CREDIT, Action.DENY))
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 2)))
    says = "RETURN_CHANGED_AFTER_CREDIT was denied, and the reason for it is gone: credit it now?"
    assert detail(decided(known), Code.APPROVAL_NEEDED) == says


# -- in any order


def _learn(desk: Desk, **fields: Any) -> None:
    known = desk.known["R1"]
    words = {name: value for name, value in fields.items() if hasattr(known.ret, name)}
    rest = {name: value for name, value in fields.items() if name not in words}
    desk.known["R1"] = replace(known, ret=replace(known.ret, **words), **rest)


@settings(max_examples=200)
@given(
    st.sampled_from([r for r in REASONS.values() if r.code is not Code.QUANTITY_EXCEEDS_ORDER]),
    st.sampled_from((Action.CREDIT, Action.DENY)),
    st.data(),
)
def test_in_whatever_order_the_reason_goes_and_the_goods_come_the_end_is_the_same(
    reason: Reason, answer: Action, data: st.DataObject
) -> None:
    def ended(news: list[Callable[[Desk], None]], jobs_run: st.SearchStrategy[bool]) -> dict[str, Any]:
        desk = Desk(Policy(settle_on="inspected"), order(), known={"R1": denied(reason)})
        for tell in news:
            tell(desk)
            if data.draw(jobs_run):
                desk.reconcile()
                desk.deliver_all()
        desk.reconcile()
        [problem] = desk.decisions["R1"].problems
        assert (problem.code, desk.notes) == (Code.APPROVAL_NEEDED, [])
        desk.rule("R1", problem, answer)
        desk.reconcile()
        desk.deliver_all()
        desk.reconcile()
        assert desk.issued == ({"GBP": 12000} if answer is Action.CREDIT else {})
        return outcome(desk)

    news: list[Callable[[Desk], None]] = [
        lambda desk: _learn(desk, **reason.right, **reason.known_right),
        lambda desk: _learn(desk, **DELIVERED),
        lambda desk: _learn(desk, findings=(*desk.known["R1"].findings, finding(Condition.SELLABLE, 3))),
        lambda desk: _learn(desk, findings=(*desk.known["R1"].findings, finding(Condition.SELLABLE, 1))),
    ]
    one = ended(data.draw(st.permutations(news)), st.booleans())
    assert one == ended(news, st.just(False))


# -- goods that came all the same


def turned_down() -> dict[str, tuple[ReturnFacts, Order]]:
    """A return of which 4 MUG came, held as a whole in each way there is, with the order that it is of."""
    credited = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 2))
    credited = after(credited, decided(credited))
    relied = facts(a_return(**APPROVED))
    return {
        "the order was cancelled": (facts(a_return(**DELIVERED)), order(cancelled=True)),
        "another buyer": (facts(a_return(**DELIVERED), same_buyer=False), order()),
        "it vanished": (facts(a_return(**DELIVERED), vanished=True), order()),
        "called off after the credit": (changed(credited, status=ReturnStatus.CANCELLED), order()),
        "Swap took its word back": (changed(after(relied, decided(relied)), qc=SwapQc.NOT_APPROVED), order()),
    }


@pytest.mark.parametrize("case", turned_down())
def test_goods_of_a_return_that_was_denied_move_by_their_findings_and_nothing_is_credited(case: str) -> None:
    known, of = turned_down()[case]
    assert decided(known, of).movements == ()
    [problem] = (problem for problem in decided(known, of).problems if problem.holds is Holds.EVERYTHING)
    known = replace(known, rulings=ruled(decided(known, of), problem.code, Action.DENY))
    known = after(known, decided(known, of))
    left = 4 - sum(each.quantity for each in known.findings)
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, left - 1)))
    known = replace(known, findings=(*known.findings, finding(Condition.DAMAGED, 1)))
    decision = decided(known, of)
    assert moves(decision) == [("mug", "damaged", 1), ("mug", "restocked", left - 1)]
    assert (decision.credit, decision.inspection) == ((), Inspection.DONE)
    known = after(known, decision)
    assert known.moved["mug", "MUG"] == {Step.RECEIVED: 4, Step.RESTOCKED: 3, Step.DAMAGED: 1}
    assert decided(known, of).settlement is (Settlement.DENIED if not known.credited else decision.settlement)


def test_units_that_a_denied_return_no_longer_announces_leave_inspection_with_those_that_were_found() -> None:
    known = facts(a_return(**APPROVED))
    known = changed(after(known, decided(known)), lines=(line(quantity=2),))
    rulings = ruled(decided(known), Code.RETURN_CHANGED_AFTER_CREDIT, Action.DENY)
    known = replace(known, rulings=rulings, findings=(finding(Condition.SELLABLE, 2),))
    decision = decided(known)
    assert (moves(decision), codes(decision)) == ([("mug", "restocked", 2), ("mug", "written_off", 2)], [])
    assert (decision.credit, decision.settlement) == ((), Settlement.CREDITED)


def test_an_order_that_was_cancelled_is_gone_on_with_as_it_is_once_a_person_accepts() -> None:
    of = order(cancelled=True)
    known = facts(a_return(**APPROVED), finding(Condition.SELLABLE, 4))
    known = replace(known, rulings=ruled(decided(known, of), Code.ORDER_CHANGED, Action.ACCEPT))
    decision = decided(known, of)
    assert (money(decision), codes(decision)) == (ALL_OF_IT, [])
    assert moves(decision) == [("mug", "received", 4), ("mug", "restocked", 4)]


def test_a_whole_return_that_was_denied_before_anything_came_says_nothing_and_claims_nothing() -> None:
    known = facts(a_return(GHOST, line("CUP", 9)), same_buyer=False)
    of = order(sold(), sold("CUP"))
    known = replace(known, rulings=ruled(decided(known, of), Code.CUSTOMER_MISMATCH, Action.DENY))
    other = facts(a_return(line("CUP"), return_id="R2", day=1, **APPROVED))
    decisions = all_decided(known, other, of=of)
    denied, credited = decisions["R1"], decisions["R2"]
    assert (denied.problems, denied.milestones, denied.settlement) == ((), (), Settlement.DENIED)
    assert money(credited) == [("cup", 4, 10000, 2000)]


ONCE = Credited("mug", "mug", 1, 2500, 500, True)
MOVED = {("mug", "MUG"): {Step.RECEIVED: 4}}


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (facts(a_return()), False),
        (facts(a_return(), finding(Condition.MISSING, 4)), False),
        (facts(a_return(**DELIVERED)), True),
        (facts(a_return(), finding(Condition.SELLABLE, 1)), True),
        (facts(a_return(), moved=MOVED), True),
        (facts(a_return(), credited=(ONCE,), credited_basis=a_return().basis()), True),
    ],
    ids=["nothing came", "all is missing", "delivered", "found", "moved", "credited"],
)
def test_the_orders_history_tells_of_a_denied_return_once_something_came_or_was_credited(
    known: ReturnFacts, told: bool
) -> None:
    known = replace(known, vanished=True)
    asked = decided(known).problems
    known = replace(known, rulings={(each.code, each.subject): Ruling(Action.DENY, "", each.about) for each in asked})
    assert bool(decided(known).milestones) is told


def test_what_a_return_was_credited_beside_goods_counts_towards_the_limit() -> None:
    known = facts(a_return(**APPROVED), credited=(ONCE,), credited_basis=a_return(**APPROVED).basis())
    known = replace(known, extras=(Extra(LineKind.SHIPPING, 3000, 600),))
    decision = decided(known, policy=Policy(approve_above=Decimal(155)))
    assert "with those before it to 156.00 GBP" in detail(decision, Code.APPROVAL_NEEDED)


def test_goods_of_a_strangers_denied_return_are_booked_in_and_the_orders_history_does_not_tell_of_them() -> None:
    known = facts(a_return(**DELIVERED), same_buyer=False)
    known = replace(known, rulings=ruled(decided(known), Code.CUSTOMER_MISMATCH, Action.DENY))
    decision = decided(known)
    assert (moves(decision), decision.milestones) == ([("mug", "received", 4)], ())
    overdue = replace(after(known, decision), overdue=True)
    assert codes(decided(overdue)) == [Code.INSPECTION_OVERDUE]


def test_whether_damaged_goods_are_credited_is_not_asked_where_nothing_is_credited() -> None:
    known = facts(a_return(**DELIVERED), vanished=True)
    known = replace(known, rulings=ruled(decided(known), Code.RETURN_VANISHED, Action.DENY))
    known = replace(known, findings=(finding(Condition.DAMAGED, 4),))
    assert (codes(decided(known)), decided(known).settlement) == ([], Settlement.DENIED)
    credited = changed(after(facts(a_return(**APPROVED)), decided(facts(a_return(**APPROVED)))), qc=SwapQc.MISSING)
    rulings = ruled(decided(credited), Code.RETURN_CHANGED_AFTER_CREDIT, Action.DENY)
    credited = replace(credited, rulings=rulings)
    assert codes(decided(replace(credited, findings=(finding(Condition.DAMAGED, 4),)))) == [Code.INSPECTION_REVIEW]


def test_goods_of_a_line_that_left_its_order_after_they_came_move_on_under_their_sku() -> None:
    known = facts(a_return(**DELIVERED))
    known = after(known, decided(known))
    known = replace(known, stock_skus={"mug": "MUG"}, findings=(finding(Condition.SELLABLE, 4),))
    of = order(sold("CUP"))
    assert moves(decided(known, of)) == []
    known = replace(known, rulings=ruled(decided(known, of), Code.SKU_NOT_ON_ORDER, Action.DENY))
    decision = decided(known, of)
    assert (moves(decision), decision.credit, codes(decision)) == ([("mug", "restocked", 4)], (), [])
