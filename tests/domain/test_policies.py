"""What a site decides for itself about carriage, fees and approval; amounts worked out by hand."""

from dataclasses import replace
from decimal import Decimal

import pytest

from swapsync.domain.catalogue import Action, Code
from swapsync.domain.facts import Case, LineKind, Policy, ReturnFacts, Route, Shipping
from swapsync.domain.orders import Order
from swapsync.domain.reasons import Holds
from swapsync.domain.returns import Condition, Settlement
from swapsync.domain.settlement import decide
from tests.domain.build import (
    APPROVED,
    DELIVERED,
    a_return,
    after,
    all_decided,
    codes,
    decided,
    detail,
    facts,
    finding,
    line,
    money,
    order,
    ruled,
    sold,
)

INSPECTED = Policy(settle_on="inspected")
PRO_RATA, WHOLE_ORDER = Policy(credit_shipping=Shipping.PRO_RATA), Policy(credit_shipping=Shipping.WHOLE_ORDER)
WITH_FEE = Policy(deduct_handling_fee=True)
UP_TO_60 = Policy(approve_above=Decimal(60))


def shipped(*lines: object, net: int = 1000, tax: int = 200, **fields: object) -> Order:
    """The usual order (4 MUG for 120.00), with 10.00 net and 2.00 tax charged for carriage."""
    return replace(order(*lines, **fields), shipping_net=net, shipping_tax=tax)


def back(units: int, sku: str = "MUG", **fields: object) -> ReturnFacts:
    """A return of some units that is confirmed by Swap."""
    return facts(a_return(line(sku, units), **APPROVED, **fields))


def in_turn(of: Order, policy: Policy, *returns: ReturnFacts) -> list[list[tuple[str, int, int, int]]]:
    """What is credited for returns that come one after the other."""
    known: tuple[ReturnFacts, ...] = ()
    notes = []
    for newcomer in returns:
        known = (*known, newcomer)
        decisions = {decision.return_id: decision for decision in decide(Case(of, known), policy)}
        notes.append(money(decisions[newcomer.ret.return_id]))
        known = tuple(after(each, decisions[each.ret.return_id]) for each in known)
    return notes


# -- carriage


def test_without_the_policy_no_carriage_is_credited() -> None:
    assert money(decided(back(4), shipped())) == [("mug", 4, 10000, 2000)]


def test_carriage_pro_rata_follows_the_value_of_the_goods_and_adds_up_exactly() -> None:
    of = shipped(sold(quantity=3, net=10000, tax=2000), net=1000, tax=100)
    notes = in_turn(of, PRO_RATA, *(back(1, return_id=f"R{n}") for n in range(3)))
    assert [note[1] for note in notes] == [
        (":shipping", 1, 333, 33),
        (":shipping", 1, 334, 34),
        (":shipping", 1, 333, 33),
    ]


def test_carriage_pro_rata_counts_the_goods_of_all_lines_with_their_tax() -> None:
    of = shipped(sold(net=3000, tax=600), sold("CUP", net=2000, tax=400), net=1000, tax=0)
    assert money(decided(back(4, "CUP"), of, PRO_RATA)) == [("cup", 4, 2000, 400), (":shipping", 1, 400, 0)]


def test_carriage_may_be_all_net_or_all_tax() -> None:
    assert money(decided(back(4), shipped(net=7, tax=0), PRO_RATA))[1:] == [(":shipping", 1, 7, 0)]
    assert money(decided(back(4), shipped(net=0, tax=7), PRO_RATA))[1:] == [(":shipping", 1, 0, 7)]
    assert money(decided(back(4), shipped(net=0, tax=0), PRO_RATA)) == [("mug", 4, 10000, 2000)]


def test_a_line_of_carriage_is_no_goods_and_has_neither_sku_nor_order_line() -> None:
    new = decided(back(4), shipped(), PRO_RATA).credit[1]
    assert (new.kind, new.sku, new.order_line_key, new.sold) == (LineKind.SHIPPING, "", "", None)


def test_carriage_of_the_whole_order_waits_for_its_last_unit() -> None:
    of = shipped(sold(), sold("CUP", 1, 500, 100))
    notes = in_turn(of, WHOLE_ORDER, back(4), back(1, "CUP", return_id="R2"))
    assert notes == [[("mug", 4, 10000, 2000)], [("cup", 1, 500, 100), (":shipping", 1, 1000, 200)]]


def test_carriage_that_was_credited_is_not_credited_again() -> None:
    one, two = back(2), facts(a_return(line(quantity=2), return_id="R2"))
    of = shipped()
    decisions = decide(Case(of, (one, two)), PRO_RATA)
    one = after(one, decisions[0])
    two = back(2, return_id="R2")
    second = decide(Case(of, (one, two)), PRO_RATA)
    assert [money(decision) for decision in second] == [[], [("mug", 2, 5000, 1000), (":shipping", 1, 500, 100)]]


def test_carriage_of_two_returns_decided_together_is_shared_too() -> None:
    both = all_decided(back(1), back(3, return_id="R2", day=1), of=shipped(), policy=PRO_RATA)
    assert [money(each)[1] for each in both.values()] == [(":shipping", 1, 250, 50), (":shipping", 1, 750, 150)]


def test_three_returns_decided_together_share_net_and_tax_each_by_itself() -> None:
    of = shipped(net=900, tax=100)
    all_three = all_decided(
        back(1), back(1, return_id="R2", day=1), back(2, return_id="R3", day=2), of=of, policy=PRO_RATA
    )
    assert [money(each)[1][2:] for each in all_three.values()] == [(225, 25), (225, 25), (450, 50)]


def test_goods_worth_one_minor_unit_bring_their_carriage() -> None:
    assert money(decided(back(4), shipped(sold(net=1, tax=0)), PRO_RATA))[1:] == [(":shipping", 1, 1000, 200)]


def test_goods_worth_nothing_bring_no_carriage() -> None:
    of = shipped(sold("GIFT", net=0, tax=0), sold(quantity=1, net=1, tax=0))
    assert money(decided(back(4, "GIFT"), of, PRO_RATA)) == []


@pytest.mark.parametrize("policy", [PRO_RATA, WHOLE_ORDER])
def test_an_order_worth_nothing_has_no_carriage_to_give_back(policy: Policy) -> None:
    assert money(decided(back(4), shipped(sold(net=0, tax=0)), policy)) == []


def test_carriage_that_became_cheaper_is_not_taken_back() -> None:
    one, two = back(2), back(2, return_id="R2", day=1)
    one = after(one, decided(one, shipped(), PRO_RATA))
    (_, second) = decide(Case(shipped(net=100, tax=20), (one, two)), PRO_RATA)
    assert money(second) == [("mug", 2, 5000, 1000)]


def test_the_reasons_name_the_carriage() -> None:
    said = [reason.text for reason in decided(back(4), shipped(), WHOLE_ORDER).reasons if reason.rule == 4]
    assert "carriage by the site's policy (whole_order)" in said


# -- fees


def test_a_handling_fee_is_kept_and_taxed_like_the_goods() -> None:
    decision = decided(back(4, handling_fee=600), policy=WITH_FEE)
    assert money(decision) == [("mug", 4, 10000, 2000), (":fee", 1, -500, -100)]
    new = decision.credit[1]
    assert (new.kind, new.sku, new.order_line_key) == (LineKind.FEE, "", "")
    assert "handling fee of 6.00 GBP kept back by the site's policy" in [reason.text for reason in decision.reasons]


def test_a_fee_is_kept_once_over_all_credits_of_its_return() -> None:
    policy = replace(WITH_FEE, settle_on="inspected")
    known = facts(a_return(handling_fee=4000, **DELIVERED), finding(Condition.SELLABLE, 1))
    first = decided(known, policy=policy)
    assert first.credit == ()  # one mug is worth 30.00, the fee is 40.00: nothing is left to credit yet
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 1)))
    second = decided(known, policy=policy)
    assert sum(net + tax for _, _, net, tax in money(second)) == 6000 - 4000
    known = after(known, second)
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 2)))
    assert money(decided(known, policy=policy)) == [("mug", 2, 5000, 1000)]


def test_a_fee_is_taken_from_the_carriage_as_well() -> None:
    decision = decided(back(4, handling_fee=12600), shipped(), replace(WITH_FEE, credit_shipping=Shipping.PRO_RATA))
    assert sum(net + tax for _, _, net, tax in money(decision)) == 12000 + 1200 - 12600


def test_a_fee_that_eats_the_credit_leaves_none_and_takes_no_share_from_the_next_return() -> None:
    both = all_decided(
        back(1, handling_fee=3000), back(3, return_id="R2", day=1), of=order(sold(net=100, tax=0)), policy=WITH_FEE
    )
    assert [money(each) for each in both.values()] == [[], [("mug", 3, 75, 0)]]


def test_without_the_policy_and_without_a_fee_nothing_is_kept() -> None:
    assert money(decided(back(4, handling_fee=600))) == [("mug", 4, 10000, 2000)]
    assert money(decided(back(4), policy=WITH_FEE)) == [("mug", 4, 10000, 2000)]


def test_a_fee_of_one_minor_unit_is_a_fee() -> None:
    assert money(decided(back(4, handling_fee=1), policy=WITH_FEE))[1] == (":fee", 1, -1, 0)


# -- approval


def test_a_credit_above_the_limit_waits_and_names_its_amount() -> None:
    decision = decided(back(4), policy=UP_TO_60)
    assert decision.credit == ()
    assert detail(decision, Code.APPROVAL_NEEDED) == "credit 1 of RMA R1 comes to 120.00 GBP"
    assert (decision.problems[0].subject, decision.problems[0].holds) == ("1", Holds.CREDIT)
    assert decision.settlement is Settlement.HELD


def test_a_credit_at_the_limit_goes_out() -> None:
    assert money(decided(back(2), policy=UP_TO_60)) == [("mug", 2, 5000, 1000)]


@pytest.mark.parametrize(("currency", "limit"), [("JPY", 12000), ("GBP", 120), ("KWD", 12)])
def test_the_limit_is_an_amount_of_the_orders_currency(currency: str, limit: int) -> None:
    known = back(4, currency=currency)
    assert decided(known, order(currency=currency), Policy(approve_above=Decimal(limit))).credit
    assert not decided(known, order(currency=currency), Policy(approve_above=Decimal(limit - 1))).credit


def test_an_approved_credit_goes_out_and_its_approval_is_good_for_no_other() -> None:
    known = back(4)
    known = replace(known, rulings=ruled(decided(known, policy=UP_TO_60), Code.APPROVAL_NEEDED, Action.CREDIT))
    assert money(decided(known, policy=UP_TO_60)) == [("mug", 4, 10000, 2000)]
    dearer = order(sold(net=20000, tax=4000))
    assert codes(decided(known, dearer, UP_TO_60)) == [Code.APPROVAL_NEEDED]


def test_the_second_credit_of_a_return_needs_an_approval_of_its_own() -> None:
    policy = replace(UP_TO_60, settle_on="inspected", approve_above=Decimal(20))
    known = facts(a_return(**DELIVERED), finding(Condition.SELLABLE, 1))
    known = replace(known, rulings=ruled(decided(known, policy=policy), Code.APPROVAL_NEEDED, Action.CREDIT))
    known = after(known, decided(known, policy=policy))
    known = replace(known, findings=(*known.findings, finding(Condition.SELLABLE, 1)))
    decision = decided(known, policy=policy)
    assert decision.credit == ()
    says = "credit 2 of RMA R1 comes to 30.00 GBP, with those before it to 60.00 GBP"
    assert detail(decision, Code.APPROVAL_NEEDED) == says


def test_the_limit_is_for_a_return_and_not_for_each_of_its_credits() -> None:
    known = facts(a_return(**DELIVERED))
    policy = Policy(approve_above=Decimal(90))
    for units in range(1, 5):
        known = replace(known, findings=(finding(Condition.SELLABLE, units),))
        decision = decided(known, policy=policy)
        assert bool(decision.credit) is (units < 4)
        known = after(known, decision)
    assert codes(decision) == [Code.APPROVAL_NEEDED]
    known = replace(known, rulings=ruled(decision, Code.APPROVAL_NEEDED, Action.CREDIT))
    assert money(decided(known, policy=policy)) == [("mug", 1, 2500, 500)]


def test_a_refused_credit_is_denied() -> None:
    known = back(4)
    known = replace(known, rulings=ruled(decided(known, policy=UP_TO_60), Code.APPROVAL_NEEDED, Action.DENY))
    decision = decided(known, policy=UP_TO_60)
    assert (decision.credit, decision.settlement, decision.problems) == ((), Settlement.DENIED, ())


def test_a_credit_that_waits_takes_no_share_from_the_next_return() -> None:
    of = order(sold(net=10, tax=1))
    both = all_decided(back(3), back(1, return_id="R2", day=1), of=of, policy=Policy(approve_above=Decimal("0.05")))
    assert [money(each) for each in both.values()] == [[], [("mug", 1, 3, 0)]]


def test_a_credit_that_waits_leaves_the_carriage_to_be_credited_with_it() -> None:
    of, policy = shipped(), Policy(approve_above=Decimal(70), credit_shipping=Shipping.PRO_RATA)
    both = all_decided(back(3), back(1, return_id="R2", day=1), of=of, policy=policy)
    assert [money(each) for each in both.values()] == [[], [("mug", 1, 2500, 500), (":shipping", 1, 250, 50)]]


# -- the fingerprint of the rules


def test_equal_rules_have_one_fingerprint_whatever_the_order_of_their_routes() -> None:
    routes = {"card": Route.GATEWAY, "invoice": Route.CREDIT_NOTE}
    turned = dict(reversed(routes.items()))
    assert Policy(routes=routes).fingerprint() == Policy(routes=turned).fingerprint()
    assert len(Policy().fingerprint()) == 64


@pytest.mark.parametrize(
    "other",
    [
        INSPECTED,
        Policy(restock_on="swap_approved"),
        Policy(uses_swap_qc=False),
        Policy(po_required=True),
        Policy(routes={}),
        Policy(routes={"onaccount": Route.GATEWAY}),
        Policy(amount_tolerance=Decimal(1)),
        Policy(amount_tolerance_percent=Decimal(2)),
        PRO_RATA,
        WHOLE_ORDER,
        WITH_FEE,
        UP_TO_60,
    ],
)
def test_any_other_rule_has_another_fingerprint(other: Policy) -> None:
    assert other.fingerprint() != Policy().fingerprint()
